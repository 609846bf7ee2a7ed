//! What is drawn, without a terminal.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use serde_json::json;

use super::*;
use crate::cli::colour::Tone;
use crate::cli::top::fixtures::{endpoints, key, shown};
use crate::cli::top::picture::{Drop, Picture, Worker};
use crate::cli::top::shown::Happened;

fn drawn(columns: u16, rows: u16, shown: &Shown, view: &View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory");
    terminal.draw(|frame| draw(frame, shown, view)).expect("memory");
    terminal.backend().to_string()
}

/// Everything there can be, for the service `web`.
fn full() -> Shown {
    let mut shown = shown(&["dns", "web"]);
    let picture = Arc::make_mut(&mut shown.picture);
    picture.endpoints = Some(endpoints("web", &[(3, 74), (1, 26)]));
    picture.drops = vec![Drop { reason: "no_service".to_owned(), total: 12_345, rate: Some(7.0) }];
    picture.workers = vec![Worker {
        number: 0,
        queue: json!(0),
        core: json!(1),
        received: Some(1.5e6),
        sent: None,
        busy: Some(0.5),
        median: Some(1e-6),
        slow: Some(2e-5),
        slowest: None,
    }];
    picture.services[1].is_handover_open = true;
    picture.services[1].remembering = 812;
    for i in 0..3 {
        let text = format!("event {i}");
        shown.hear(Happened { time: "12:00:00".to_owned(), kind: "applied".to_owned(), text, tone: Tone::Good });
    }
    shown
}

/// The words of the line that has this in it.
fn line<'a>(screen: &'a str, part: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}:\n{screen}"));
    line.trim_matches('"').split_whitespace().collect()
}

#[test]
fn everything_stands_in_80_columns_and_24_rows() {
    let (shown, mut view) = (full(), View::default());
    let screen = drawn(80, 24, &shown, &view);
    assert_eq!(line(&screen, "> web")[..4], [">", "web", "203.0.113.10", "1"], "{screen}");
    assert_eq!(line(&screen, " web ").last(), Some(&"812"), "{screen}");
    assert!(screen.contains("1 handover open"), "{screen}");
    assert_eq!(line(&screen, "e0 ")[2..6], ["active", "3", "75.0%", "74.0%"], "{screen}");
    assert_eq!(line(&screen, "no_service"), ["no_service", "12.3k", "7", "0", "1", "50.0%", "1.50M", "20.0µs", "-"]);
    assert!(!screen.contains("event 2") && screen.contains("services (2)"), "{screen}");
    view.key(key(KeyCode::BackTab), &shown);
    let screen = drawn(80, 24, &shown, &view);
    let places: Vec<_> = ["event 2", "event 1", "event 0"].map(|event| screen.find(event)).to_vec();
    assert!(places.is_sorted() && places[0].is_some() && screen.contains("> web"), "{screen}");
    view.key(key(KeyCode::Enter), &shown);
    let screen = drawn(80, 24, &shown, &view);
    assert!(screen.contains("event 0") && !screen.contains("SERVICE"), "one pane has all of it: {screen}");
}

#[test]
fn a_large_terminal_shows_more_columns_and_all_panes() {
    let screen = drawn(200, 60, &full(), &View::default());
    for part in ["PROTOCOL", "BITS/S", "REMEMBERED", "QUEUE", "P50", "SENT/S", "event 0", "2001:db8::1", "no_service"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}

#[test]
fn a_small_terminal_says_that_it_is_small_and_none_is_too_small_to_draw_in() {
    let screen = drawn(40, 10, &full(), &View::default());
    assert!(screen.contains("The terminal has 40 columns and 10"), "{screen}");
    for (columns, rows) in [(1, 1), (60, 16), (59, 16), (300, 2), (2, 100), (61, 17), (500, 200)] {
        for keys in ["", "?", "z", "\t", "\tz", "\t\t\t\t", "/a"] {
            let (mut view, shown) = (View::default(), full());
            for letter in keys.chars() {
                view.key(key(if letter == '\t' { KeyCode::Tab } else { KeyCode::Char(letter) }), &shown);
            }
            drawn(columns, rows, &shown, &view);
            drawn(columns, rows, &Shown::default(), &view);
        }
    }
}

#[test]
fn no_service_and_ten_thousand_are_shown() {
    let screen = drawn(80, 24, &shown(&[]), &View::default());
    assert!(screen.contains("0 services") && screen.contains("no service is chosen"), "{screen}");
    let names: Vec<String> = (0..10_000).map(|i| format!("service-{i:05}")).collect();
    let shown = shown(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut view = View::default();
    assert!(drawn(80, 24, &shown, &view).contains("service-09999"), "the busiest");
    view.key(key(KeyCode::End), &shown);
    let screen = drawn(80, 24, &shown, &view);
    assert!(screen.contains("> service-00000") && screen.contains("services (10000)"), "{screen}");
    view.key(key(KeyCode::PageUp), &shown);
    assert!(drawn(80, 24, &shown, &view).contains("> service-00010"));
}

#[test]
fn no_name_breaks_the_screen() {
    let long = "長".repeat(300);
    let names = ["鉄道", "web\u{1b}[2J\n\u{9b}1m\u{202e}", "e\u{301}\u{200b}", long.as_str(), "👩‍👩‍👧/🏳️‍🌈", "a\tb"];
    let mut shown = shown(&names);
    let picture = Arc::make_mut(&mut shown.picture);
    picture.node["revision"] = json!("\u{1b}c\r\n");
    picture.problems = vec!["one".to_owned(), "two".to_owned()];
    for columns in [60, 80, 81, 120] {
        let screen = drawn(columns, 30, &shown, &View::default());
        assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "{screen:?}");
        assert!(screen.contains("PROBLEM (and 1 more: `pointsman status`)  one"), "{screen}");
        assert!(screen.contains("\\u{1b}c\\r\\n") && screen.contains("鉄道"), "{screen}");
        // Cells behind a wide letter are empty in memory: a terminal has the letter there.
        let states = "      1     0    0 ";
        let rows = rows(columns, 30, &shown);
        let ends: Vec<_> = rows.filter_map(|row| row.find(states).map(|at| row[..at].chars().count())).collect();
        assert_eq!(ends.len(), names.len(), "{screen}");
        assert!(ends.windows(2).all(|two| two[0] == two[1]), "in the same column in each row: {ends:?}\n{screen}");
    }
}

/// Each row, each cell of it as one letter.
fn rows(columns: u16, rows: u16, shown: &Shown) -> impl Iterator<Item = String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory");
    terminal.draw(|frame| draw(frame, shown, &View::default())).expect("memory");
    let buffer = terminal.backend().buffer().clone();
    let first = move |x, y| buffer[(x, y)].symbol().chars().next().unwrap_or(' ');
    (0..rows).map(move |y| (0..columns).map(|x| first(x, y)).collect())
}

#[test]
fn a_daemon_that_is_away_is_named_before_its_problems() {
    let mut shown = full();
    Arc::make_mut(&mut shown.picture).problems = vec!["the interface eth0 is down".to_owned()];
    assert!(drawn(80, 24, &shown, &View::default()).contains("PROBLEM  the interface eth0 is down"));
    shown.miss("12:00:01".to_owned(), "it went".to_owned());
    shown.miss("12:00:02".to_owned(), "no socket".to_owned());
    let screen = drawn(80, 24, &shown, &View::default());
    assert!(screen.contains("The daemon is away since 12:00:01: no socket") && !screen.contains("PROBLEM"), "{screen}");
    shown.see(Picture::default(), "12:00:03".to_owned(), true);
    assert!(!drawn(80, 24, &shown, &View::default()).contains("away"));
}
