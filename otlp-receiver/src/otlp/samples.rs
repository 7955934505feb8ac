//! Random requests as no encoder would write them: fields in any order, sent twice, unknown, packed and not, nested.

use whence_schema::Signal;

/// Numbers and forms of a message's fields.
type Fields = &'static [(u32, Wire)];

/// How a field is written.
#[derive(Clone, Copy)]
enum Wire {
    Text,
    Bytes,
    Varint,
    Fixed64,
    Fixed32,
    /// Repeated, packed or not.
    Fixed64s,
    /// Repeated, packed or not.
    Varints,
    Message(fn() -> Fields),
}

use Wire::{Bytes, Fixed32, Fixed64, Fixed64s, Message, Text, Varint, Varints};

static VALUE: Fields = &[
    (1, Text),
    (2, Varint),
    (3, Varint),
    (4, Fixed64),
    (5, Message(|| &[(1, Message(|| VALUE))])),
    (6, Message(|| &[(1, Message(|| ATTRIBUTE))])),
    (7, Bytes),
    (8, Varint),
];
static ATTRIBUTE: Fields = &[(1, Text), (2, Message(|| VALUE)), (3, Varint)];
static ENTITY: Fields = &[(1, Text), (2, Text), (3, Text), (4, Text)];
static RESOURCE: Fields = &[(1, Message(|| ATTRIBUTE)), (2, Varint), (3, Message(|| ENTITY))];
static SCOPE: Fields = &[(1, Text), (2, Text), (3, Message(|| ATTRIBUTE)), (4, Varint)];
static EVENT: Fields = &[(1, Fixed64), (2, Text), (3, Message(|| ATTRIBUTE)), (4, Varint)];
static LINK: Fields = &[(1, Bytes), (2, Bytes), (3, Text), (4, Message(|| ATTRIBUTE)), (5, Varint), (6, Fixed32)];
static STATUS: Fields = &[(2, Text), (3, Varint)];
static SPAN: Fields = &[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Bytes),
    (5, Text),
    (6, Varint),
    (7, Fixed64),
    (8, Fixed64),
    (9, Message(|| ATTRIBUTE)),
    (10, Varint),
    (11, Message(|| EVENT)),
    (12, Varint),
    (13, Message(|| LINK)),
    (14, Varint),
    (15, Message(|| STATUS)),
    (16, Fixed32),
];
static LOG_RECORD: Fields = &[
    (1, Fixed64),
    (11, Fixed64),
    (2, Varint),
    (3, Text),
    (5, Message(|| VALUE)),
    (6, Message(|| ATTRIBUTE)),
    (7, Varint),
    (8, Fixed32),
    (9, Bytes),
    (10, Bytes),
    (12, Text),
];
static EXEMPLAR: Fields =
    &[(7, Message(|| ATTRIBUTE)), (2, Fixed64), (3, Fixed64), (6, Fixed64), (4, Bytes), (5, Bytes)];
static NUMBER: Fields = &[
    (7, Message(|| ATTRIBUTE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (6, Fixed64),
    (5, Message(|| EXEMPLAR)),
    (8, Varint),
];
static HISTOGRAM: Fields = &[
    (9, Message(|| ATTRIBUTE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Fixed64s),
    (7, Fixed64s),
    (8, Message(|| EXEMPLAR)),
    (10, Varint),
    (11, Fixed64),
    (12, Fixed64),
];
static BUCKETS: Fields = &[(1, Varint), (2, Varints)];
static EXPONENTIAL: Fields = &[
    (1, Message(|| ATTRIBUTE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Varint),
    (7, Fixed64),
    (8, Message(|| BUCKETS)),
    (9, Message(|| BUCKETS)),
    (10, Varint),
    (11, Message(|| EXEMPLAR)),
    (12, Fixed64),
    (13, Fixed64),
    (14, Fixed64),
];
static QUANTILE: Fields = &[(1, Fixed64), (2, Fixed64)];
static SUMMARY: Fields = &[
    (7, Message(|| ATTRIBUTE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Message(|| QUANTILE)),
    (8, Varint),
];
static METRIC: Fields = &[
    (1, Text),
    (2, Text),
    (3, Text),
    (12, Message(|| ATTRIBUTE)),
    (5, Message(|| &[(1, Message(|| NUMBER))])),
    (7, Message(|| &[(1, Message(|| NUMBER)), (2, Varint), (3, Varint)])),
    (9, Message(|| &[(1, Message(|| HISTOGRAM)), (2, Varint)])),
    (10, Message(|| &[(1, Message(|| EXPONENTIAL)), (2, Varint)])),
    (11, Message(|| &[(1, Message(|| SUMMARY))])),
];
static TRACES: Fields = &[(
    1,
    Message(|| {
        &[
            (1, Message(|| RESOURCE)),
            (2, Message(|| &[(1, Message(|| SCOPE)), (2, Message(|| SPAN)), (3, Text)])),
            (3, Text),
        ]
    }),
)];
static LOGS: Fields = &[(
    1,
    Message(|| {
        &[
            (1, Message(|| RESOURCE)),
            (2, Message(|| &[(1, Message(|| SCOPE)), (2, Message(|| LOG_RECORD)), (3, Text)])),
            (3, Text),
        ]
    }),
)];
static METRICS: Fields = &[(
    1,
    Message(|| {
        &[
            (1, Message(|| RESOURCE)),
            (2, Message(|| &[(1, Message(|| SCOPE)), (2, Message(|| METRIC)), (3, Text)])),
            (3, Text),
        ]
    }),
)];

const TEXTS: &[&str] = &[
    "",
    "service.name",
    "host.name",
    "k8s.pod.name",
    "gen_ai.agent.name",
    "gen_ai.request.model",
    "gen_ai.operation.name",
    "chat",
    "exception",
    "exception.type",
    "event.name",
    "deployment.id",
    "GET /cart",
    "quoted \"text\"\n",
    "grün \u{1f600} and longer than twelve bytes",
    "back\\slash \u{1}",
    "WARN",
];

/// Numbers that decide something: zero, one, plausible times, odd doubles, extremes.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    17,
    1_699_999_999_000_000_123,
    1_700_000_000_000_000_000,
    0x3ff8_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff0_0000_0000_0000,
    u64::MAX,
];

/// A random request, the same for the same seed.
pub(crate) fn request(signal: Signal, seed: u64) -> Vec<u8> {
    let fields = match signal {
        Signal::Traces => TRACES,
        Signal::Logs => LOGS,
        Signal::Metrics => METRICS,
    };
    let mut writer = Writer { state: seed, odd: seed.is_multiple_of(4), budget: 600 };
    let mut out = Vec::new();
    writer.message(&mut out, fields, 0);
    out
}

/// `request` with up to three bits turned, or its end cut off.
pub(crate) fn damaged(mut request: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut writer = Writer { state: seed, odd: false, budget: 0 };
    if request.is_empty() {
        return request;
    }
    let length = request.len() as u64;
    if writer.one_in(4) {
        request.truncate(writer.below(length) as usize);
    } else {
        for _ in 0..=writer.below(3) {
            request[writer.below(length) as usize] ^= 1 << writer.below(8);
        }
    }
    request
}

struct Writer {
    state: u64,
    /// Whether message fields that may occur once are sent twice.
    odd: bool,
    /// Fields that may still be written, so that requests stay small.
    budget: u32,
}

impl Writer {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn message(&mut self, out: &mut Vec<u8>, fields: Fields, depth: u32) {
        // Most often every field once and in order, then some more at random.
        let ordered = !self.one_in(3);
        let mut numbers: Vec<usize> =
            if ordered { (0..fields.len()).filter(|_| !self.one_in(4)).collect() } else { Vec::new() };
        for _ in 0..self.below(5) {
            numbers.push(self.below(fields.len() as u64) as usize);
        }
        if !self.odd {
            // A message field twice is what repeated fields are for; elsewhere it is an oddity of its own.
            let single = |i: &usize| matches!(fields[*i].1, Message(m) if !repeated(m()));
            let mut seen = [false; 20];
            numbers.retain(|i| !single(i) || !std::mem::replace(&mut seen[*i], true));
        }
        for index in numbers {
            let (number, wire) = fields[index];
            if self.budget == 0 || (depth > 24 && matches!(wire, Message(_))) {
                continue;
            }
            self.budget -= 1;
            self.field(out, number, wire, depth);
            if self.one_in(20) {
                self.unknown(out, 0);
            }
        }
    }

    fn field(&mut self, out: &mut Vec<u8>, number: u32, wire: Wire, depth: u32) {
        match wire {
            Varint => {
                let value = self.number();
                key(out, number, 0);
                varint(out, value);
            }
            Fixed64 => self.fixed64(out, number),
            Fixed32 => {
                key(out, number, 5);
                out.extend_from_slice(&(self.number() as u32).to_le_bytes());
            }
            Text => {
                let text = self.pick(TEXTS);
                delimited(out, number, text.as_bytes());
            }
            Bytes => {
                let length = self.pick(&[0, 8, 16, 16, 8, 3]);
                let fill = self.below(3) as u8;
                delimited(out, number, &vec![fill; length]);
            }
            Message(fields) => {
                let mut inner = Vec::new();
                self.message(&mut inner, fields(), depth + 1);
                delimited(out, number, &inner);
            }
            Fixed64s if self.one_in(2) => self.fixed64(out, number),
            Fixed64s => {
                let packed: Vec<u8> = (0..self.below(4)).flat_map(|_| self.number().to_le_bytes()).collect();
                delimited(out, number, &packed);
            }
            Varints if self.one_in(2) => self.field(out, number, Varint, depth),
            Varints => {
                let mut packed = Vec::new();
                (0..self.below(4)).for_each(|_| varint(&mut packed, self.number()));
                delimited(out, number, &packed);
            }
        }
    }

    fn fixed64(&mut self, out: &mut Vec<u8>, number: u32) {
        key(out, number, 1);
        out.extend_from_slice(&self.number().to_le_bytes());
    }

    fn number(&mut self) -> u64 {
        if self.one_in(12) { self.next() >> self.below(64) } else { self.pick(NUMBERS) }
    }

    fn unknown(&mut self, out: &mut Vec<u8>, depth: u32) {
        let number = self.pick(&[17, 99, 1000, 20_000]);
        match self.below(5) {
            0 if depth < 3 => {
                key(out, number, 3);
                (0..self.below(3)).for_each(|_| self.unknown(out, depth + 1));
                key(out, number, 4);
            }
            1 => self.field(out, number, Text, 0),
            2 => self.field(out, number, Fixed32, 0),
            3 => self.field(out, number, Fixed64, 0),
            _ => self.field(out, number, Varint, 0),
        }
    }
}

/// Messages that occur in lists; the others occur once.
fn repeated(fields: Fields) -> bool {
    ![RESOURCE, SCOPE, STATUS, BUCKETS].iter().any(|single| single.as_ptr() == fields.as_ptr())
}

pub(crate) fn key(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    varint(out, u64::from(number) << 3 | wire_type);
}

pub(crate) fn delimited(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    key(out, number, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
