//! What the keys do, and what the columns mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

const HELP: &[&str] = &[
    "Tab, Shift-Tab, ← →   another pane          Enter, z   this pane alone, or all",
    "↑ ↓, j k, Page, Home  another row           s, S       sort by another column",
    "/                     only rows with a text r          the other way round",
    "Esc                   all rows, all panes   p, space   stand still, or go on",
    "",
    "services   NEW/S: TCP SYNs and QUIC Initials. HANDOVER: slots that still send",
    "           older flows to the endpoint that they had before a change. TRACKED:",
    "           flows that were seen while they did.",
    "endpoints  of the chosen service. DUE is the part of new flows that a weight",
    "           asks for, SHARE the part that its slots get.",
    "workers    BUSY: of the last minute, with frames in hand. P50, P99 and MAX: how",
    "           long packets took in the last minute.",
    "drops      by reason; docs/drop-reasons.md says what each means, and what to do.",
    "",
    "Any key goes back.",
];

/// Draws it in place of the panes.
pub fn draw(frame: &mut Frame, area: Rect) {
    let lines: Vec<Line> = HELP.iter().map(|line| Line::from(*line)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}
