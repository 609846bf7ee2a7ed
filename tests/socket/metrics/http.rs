//! The metrics' HTTP server among clients that are slow, hostile, or many. None of it needs root.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::metrics::{ListenError, Server, listen};
use pointsman::stats::Counters;

use super::memory_node::{MemoryNode, golden_set};
use testkit::SOON;

struct Served {
    address: SocketAddr,
    server: Server,
}

fn serve(counters: Arc<Counters>) -> Served {
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    Served { address, server: Server::start(listener, counters, || ()).expect("a thread") }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(2 * SOON)).expect("a socket");
    stream
}

/// Sends these bytes and answers all that comes back.
fn ask(address: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let mut stream = connect(address);
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8(answer).expect("text"))
}

fn is_page(answer: io::Result<String>) -> bool {
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\npointsman_generation "))
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: edge\r\n\r\n";

#[test]
fn answers_get_and_head_and_nothing_else() {
    let served = serve(Arc::default());
    let page = ask(served.address, GET).expect("an answer");
    let (head, body) = page.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");

    let answer = ask(served.address, b"HEAD /metrics HTTP/1.1\r\nHost: edge\r\n\r\n").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("Content-Length: ") && !answer.contains("Content-Length: 0"), "{answer}");
    for (question, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /metricsX HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("garbage\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\0\u{1}", "400"),
    ] {
        let answer = ask(served.address, question.as_bytes()).expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{question:?} was answered {answer}");
    }
    let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; 100_000]].concat();
    let answer = ask(served.address, &long);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 431 ")), "cut off");
    assert!(is_page(ask(served.address, GET)), "it still answers");
}

#[test]
fn any_bytes_leave_it_well() {
    let served = serve(Arc::default());
    let mut state = 1u64;
    for round in 0..200 {
        let mut bytes = if round % 2 == 0 { GET.to_vec() } else { Vec::new() };
        for _ in 0..round {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % (bytes.len() + 1);
            bytes.insert(at, (state >> 56) as u8);
        }
        let mut stream = connect(served.address);
        _ = stream.write_all(&bytes);
        // Half of them wait for no answer.
        if round % 4 < 2 {
            _ = stream.shutdown(std::net::Shutdown::Write);
            _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert!(is_page(ask(served.address, GET)));
}

#[test]
fn clients_that_dawdle_keep_nobody_out_and_are_cut_off() {
    let served = serve(Arc::default());
    let began = Instant::now();
    // Far more than are served at once; each says a little and stays.
    let mut idle: Vec<TcpStream> = (0..200).map(|_| connect(served.address)).collect();
    idle.iter_mut().for_each(|stream| stream.write_all(b"GET /metrics HTTP/1.1\r\n").expect("it has just come"));
    let mut dripping = idle.pop().expect("the newest");
    for _ in 0..20 {
        assert!(is_page(ask(served.address, GET)), "somebody who asks at once is answered");
    }
    assert!(began.elapsed() < SOON / 3, "and soon: {:?}", began.elapsed());
    let mut over = false;
    while !over && began.elapsed() < 2 * SOON {
        over = dripping.write_all(b"X: y\r\n").is_err();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(over, "a byte now and then keeps a connection for ever");
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let mut node = MemoryNode::new();
    node.apply(&many_endpoints(20_000));
    let served = serve(node.counters.clone());
    let mut deaf = connect(served.address);
    deaf.write_all(GET).expect("it has just come");
    for _ in 0..5 {
        assert!(is_page(ask(served.address, GET)), "others are answered meanwhile");
    }
    let mut answer = Vec::new();
    deaf.read_to_end(&mut answer).expect("it reads at last, in time");
    assert!(answer.len() > 3_000_000 && answer.ends_with(b"\n"), "{} bytes", answer.len());
}

fn many_endpoints(count: u32) -> String {
    let endpoint = |i| serde_json::json!({ "name": format!("endpoint-{i}"), "address": format!("2001:db8::{:x}:{:x}", i >> 16, i & 0xffff) });
    let endpoints: Vec<_> = (1..=count).map(endpoint).collect();
    serde_json::json!({ "services": [{ "name": "large", "vip": "203.0.113.1", "endpoints": endpoints }] }).to_string()
}

#[test]
fn a_port_in_use_is_said() {
    let served = serve(Arc::default());
    let error = listen(served.address).expect_err("it is in use");
    assert!(matches!(error, ListenError::InUse(_)));
    assert_eq!(
        error.to_string(),
        format!("metrics.listen: {} is in use by another program; stop it, or choose another port", served.address)
    );
    let address = served.address;
    drop(served.server);
    drop(listen(address).expect("free again, with the thread gone"));
    listen("192.0.2.77:0".parse().expect("an address")).expect("an address that may come up later");
}

#[test]
fn shows_what_was_counted_a_moment_ago() {
    let mut node = MemoryNode::new();
    node.apply(&golden_set());
    let served = serve(node.counters.clone());
    assert!(is_page(ask(served.address, GET)));
    node.forward(&[vec![0; 60]]);
    let line = "pointsman_drops_total{reason=\"not_a_vip\"} 1";
    let came = || ask(served.address, GET).is_ok_and(|page| page.contains(line));
    assert!(testkit::wait_until(SOON, came), "{line}");
}
