//! What the proxy does to requests, seen by a client and a broker that only know frames.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use weir_testkit::proxy::{Act, Api, Proxy};
use weir_testkit::wait_for;

const LONG: Duration = Duration::from_secs(10);

fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn send(stream: &mut TcpStream, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, body].concat()).unwrap();
}

/// A broker that answers each request with its correlation id and how many it has had. What it had is told.
struct Broker {
    port: u16,
    had: Arc<Mutex<Vec<(i16, i32)>>>,
}

impl Broker {
    fn start() -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Broker { port: listener.local_addr().unwrap().port(), had: Arc::default() };
        let had = Arc::clone(&broker.had);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (had, mut stream) = (Arc::clone(&had), stream);
                thread::spawn(move || {
                    while let Some(request) = frame(&mut stream) {
                        let api = i16::from_be_bytes([request[0], request[1]]);
                        let correlation = i32::from_be_bytes(request[4..8].try_into().unwrap());
                        let mut had = had.lock().unwrap();
                        had.push((api, correlation));
                        send(&mut stream, &[&correlation.to_be_bytes()[..], &[had.len() as u8]].concat());
                    }
                });
            }
        });
        broker
    }

    fn had(&self) -> Vec<(i16, i32)> {
        self.had.lock().unwrap().clone()
    }
}

struct Client(TcpStream);

impl Client {
    fn new(proxy: &Proxy) -> Client {
        let stream = TcpStream::connect(proxy.bootstrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client(stream)
    }

    fn ask(&mut self, api: Api, correlation: i32) {
        send(&mut self.0, &[&(api as i16).to_be_bytes()[..], &[0, 0], &correlation.to_be_bytes()].concat());
    }

    /// Correlation id and count of the next answer; `None` where the connection is cut.
    fn answer(&mut self) -> Option<(i32, u8)> {
        let answer = frame(&mut self.0)?;
        Some((i32::from_be_bytes(answer[..4].try_into().unwrap()), answer[4]))
    }

    fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let read = self.0.read(&mut [0]);
        self.0.set_read_timeout(Some(LONG)).unwrap();
        read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    }
}

#[test]
fn what_no_rule_names_passes() {
    let broker = Broker::start();
    let proxy = Proxy::start(&[broker.port]);
    let fault = proxy.inject(Api::EndTxn, Act::CutBefore, |_| true);
    let mut client = Client::new(&proxy);
    client.ask(Api::Produce, 7);
    client.ask(Api::Fetch, 8);
    assert_eq!((client.answer(), client.answer()), (Some((7, 1)), Some((8, 2))));
    assert_eq!((fault.struck(), proxy.seen(Api::Produce), proxy.seen(Api::EndTxn)), (0, 1, 0));
    proxy.cut();
    assert_eq!(client.answer(), None);
}

#[test]
fn the_chosen_request_is_cut_off_and_no_other() {
    for (act, arrived) in [(Act::CutBefore, false), (Act::CutAfter, true)] {
        let broker = Broker::start();
        let proxy = Proxy::start(&[broker.port]);
        let fault = proxy.inject(Api::Produce, act, |n| n == 2);
        let mut client = Client::new(&proxy);
        client.ask(Api::Produce, 1);
        assert_eq!(client.answer(), Some((1, 1)));
        client.ask(Api::Produce, 2);
        assert_eq!(client.answer(), None, "{act:?}");
        assert_eq!((broker.had().contains(&(0, 2)), fault.struck()), (arrived, 1), "{act:?}");
        assert_eq!(fault.answers().len(), usize::from(arrived), "{act:?}");
        let mut client = Client::new(&proxy);
        client.ask(Api::Produce, 3);
        assert!(client.answer().is_some_and(|(correlation, _)| correlation == 3), "{act:?}");
    }
}

#[test]
fn what_is_held_arrives_when_it_is_released() {
    for act in [Act::Hold, Act::HoldAnswer, Act::Stray] {
        let broker = Broker::start();
        let proxy = Proxy::start(&[broker.port]);
        let fault = proxy.inject(Api::EndTxn, act, |n| n == 1);
        let mut client = Client::new(&proxy);
        client.ask(Api::EndTxn, 1);
        wait_for(LONG, "the request to be struck", || fault.struck() == 1);
        if act == Act::Stray {
            assert_eq!(client.answer(), None);
        } else {
            assert!(client.is_silent(), "{act:?}");
        }
        let mut other = Client::new(&proxy);
        other.ask(Api::EndTxn, 2);
        assert_eq!(other.answer().map(|(correlation, _)| correlation), Some(2), "others pass meanwhile");
        let first = if act == Act::HoldAnswer { (26, 1) } else { (26, 2) };
        assert_eq!(broker.had()[0], first, "{act:?}");
        if act == Act::Hold {
            // A client that does not wait any longer changes nothing.
            drop(client);
            fault.release();
        } else {
            fault.release();
            if act == Act::HoldAnswer {
                assert_eq!(client.answer(), Some((1, 1)));
            }
        }
        wait_for(LONG, "both to have arrived", || broker.had().len() == 2 && fault.answers().len() == 1);
    }
}

#[test]
fn a_doubled_request_has_one_answer_and_silence_has_none() {
    let broker = Broker::start();
    let proxy = Proxy::start(&[broker.port]);
    let double = proxy.inject(Api::Produce, Act::Duplicate, |n| n == 1);
    let silence = proxy.inject(Api::Heartbeat, Act::Silence, |_| true);
    let mut client = Client::new(&proxy);
    client.ask(Api::Produce, 1);
    client.ask(Api::Produce, 2);
    assert_eq!((client.answer(), client.answer()), (Some((1, 1)), Some((2, 3))));
    assert_eq!((double.answers().len(), broker.had().len()), (2, 3));
    client.ask(Api::Heartbeat, 3);
    client.ask(Api::Produce, 4);
    wait_for(LONG, "both to have arrived", || broker.had().len() == 5);
    assert!(client.is_silent());
    assert_eq!(silence.struck(), 1);
    drop((double, silence));
    let mut client = Client::new(&proxy);
    client.ask(Api::Heartbeat, 5);
    assert_eq!(client.answer(), Some((5, 6)));
}
