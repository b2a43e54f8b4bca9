//! The ports of brokers in answers, changed in place. Hosts stay: all is on one machine.

/// The answers that say where a broker is, and from which version on they are in the compact form (KIP-482).
const METADATA: (i16, i16) = (3, 9);
const FIND_COORDINATOR: (i16, i16) = (10, 3);

/// Changes the ports of brokers in an answer, which begins with its correlation id, to those the proxy has for them. What cannot be
/// read is left as it is.
pub(super) fn ports(answer: &mut [u8], api: i16, version: i16, ports: &[(u16, u16)]) {
    let compact = match api {
        api if api == METADATA.0 => version >= METADATA.1,
        api if api == FIND_COORDINATOR.0 => version >= FIND_COORDINATOR.1,
        _ => return,
    };
    let mut answer = Answer { bytes: answer, at: 0, compact, ports };
    let _ = if api == METADATA.0 { answer.metadata(version) } else { answer.coordinator(version) };
}

struct Answer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    compact: bool,
    ports: &'a [(u16, u16)],
}

impl Answer<'_> {
    fn metadata(&mut self, version: i16) -> Option<()> {
        self.header()?;
        if version >= 3 {
            self.skip(4)?; // throttle_time_ms
        }
        for _ in 0..self.count()? {
            self.skip(4)?; // node_id
            self.string()?; // host
            self.port()?;
            if version >= 1 {
                self.string()?; // rack
            }
            self.tags()?;
        }
        Some(())
    }

    fn coordinator(&mut self, version: i16) -> Option<()> {
        self.header()?;
        if version >= 1 {
            self.skip(4)?; // throttle_time_ms
        }
        if version < 4 {
            self.skip(2)?; // error_code
            if version >= 1 {
                self.string()?; // error_message
            }
            self.skip(4)?; // node_id
            self.string()?; // host
            return self.port();
        }
        for _ in 0..self.count()? {
            self.string()?; // key
            self.skip(4)?; // node_id
            self.string()?; // host
            self.port()?;
            self.skip(2)?; // error_code
            self.string()?; // error_message
            self.tags()?;
        }
        Some(())
    }

    fn header(&mut self) -> Option<()> {
        self.skip(4)?; // correlation_id
        self.tags()
    }

    fn port(&mut self) -> Option<()> {
        let field = self.bytes.get_mut(self.at..)?.first_chunk_mut::<4>()?;
        let broker = i32::from_be_bytes(*field);
        if let Some((_, own)) = self.ports.iter().find(|(port, _)| i32::from(*port) == broker) {
            *field = i32::from(*own).to_be_bytes();
        }
        self.skip(4)
    }

    fn count(&mut self) -> Option<u32> {
        if self.compact {
            return Some(self.varint()?.saturating_sub(1));
        }
        let count = i32::from_be_bytes(*self.bytes.get(self.at..)?.first_chunk::<4>()?);
        self.skip(4)?;
        Some(u32::try_from(count).unwrap_or(0))
    }

    fn string(&mut self) -> Option<()> {
        let length = if self.compact {
            self.varint()?.saturating_sub(1)
        } else {
            let length = i16::from_be_bytes(*self.bytes.get(self.at..)?.first_chunk::<2>()?);
            self.skip(2)?;
            u32::try_from(length).unwrap_or(0)
        };
        self.skip(length as usize)
    }

    fn tags(&mut self) -> Option<()> {
        if self.compact {
            for _ in 0..self.varint()? {
                self.varint()?;
                let size = self.varint()?;
                self.skip(size as usize)?;
            }
        }
        Some(())
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api: i16, version: i16, answer: &[u8], expect: &[u8]) {
        let mut changed = answer.to_vec();
        ports(&mut changed, api, version, &[(9092, 15_000), (9093, 15_001)]);
        assert_eq!(changed, expect, "{api} {version}");
        for end in 0..answer.len() {
            // No answer that is cut short, and none of whose numbers lie, makes it panic.
            ports(&mut answer[..end].to_vec(), api, version, &[(9092, 15_000)]);
            let mut lies = answer.to_vec();
            lies[end] = 0xff;
            ports(&mut lies, api, version, &[(9092, 15_000)]);
        }
    }

    #[test]
    fn ports_are_exchanged_wherever_they_stand() {
        let (old, new) = (9092i32.to_be_bytes(), 15_000i32.to_be_bytes());
        let parts = |parts: &[&[u8]]| parts.concat();
        let both = |api, version, make: &dyn Fn(&[u8]) -> Vec<u8>| check(api, version, &make(&old), &make(&new));
        // One broker, and a port that is none of ours.
        both(3, 0, &|port| {
            parts(&[b"\0\0\0\x07", b"\0\0\0\x02", b"\0\0\0\x01\0\x01h", port, b"\0\0\0\x02\0\x01h\0\0\0\x09"])
        });
        both(3, 8, &|port| {
            parts(&[b"\0\0\0\x07", b"\0\0\0\0", b"\0\0\0\x01", b"\0\0\0\x01\0\x01h", port, b"\xff\xff", b"rest"])
        });
        both(3, 12, &|port| {
            parts(&[
                b"\0\0\0\x07",
                b"\x01\x05\x02ab",
                b"\0\0\0\0",
                b"\x02",
                b"\0\0\0\x01\x02h",
                port,
                b"\0",
                b"\0",
                b"rest",
            ])
        });
        both(10, 0, &|port| parts(&[b"\0\0\0\x07", b"\0\0", b"\0\0\0\x01\0\x01h", port]));
        both(10, 2, &|port| parts(&[b"\0\0\0\x07", b"\0\0\0\0\0\0", b"\0\x04NONE", b"\0\0\0\x01\0\x01h", port]));
        both(10, 3, &|port| parts(&[b"\0\0\0\x07\0", b"\0\0\0\0\0\0", b"\0", b"\0\0\0\x01\x02h", port, b"\0"]));
        both(10, 4, &|port| {
            parts(&[b"\0\0\0\x07\0", b"\0\0\0\0", b"\x02", b"\x02g\0\0\0\x01\x02h", port, b"\0\0", b"\0", b"\0", b"\0"])
        });
        let second = parts(&[b"\0\0\0\x07", b"\0\0", b"\0\0\0\x01\0\x01h", &9093i32.to_be_bytes()]);
        check(10, 0, &second, &parts(&[b"\0\0\0\x07", b"\0\0", b"\0\0\0\x01\0\x01h", &15_001i32.to_be_bytes()]));
        check(0, 9, &old, &old);
    }
}
