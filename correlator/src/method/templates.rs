//! Log templates: what of a message stays the same when it is written again.
//!
//! Numbers, times and ids are masked by their look. Messages that are alike after that fall into one template, whose
//! tokens that differ are masked as well (as Drain does: He et al., "Drain: An Online Log Parsing Approach with Fixed
//! Depth Tree", ICWS 2017). A message that was seen before, masked, costs one look-up.

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// Tokens of a message that are looked at: what tells messages apart comes early, and payloads come late.
const MOST_TOKENS: usize = 48;
/// Bytes of a message that are looked at.
const MOST_BYTES: usize = 512;
/// Share of equal tokens that makes a message one of a template; Drain's default is 0.4 to 0.5.
const SIMILAR: f32 = 0.5;
/// Constant tokens at the start that all messages of a template share.
const PREFIX: usize = 2;
/// Most templates; messages beyond that share the last one of their asset's.
const MOST_TEMPLATES: usize = 20_000;
/// Messages whose template is remembered; beyond that all are forgotten, and compared with templates again.
const MOST_KNOWN: usize = 1 << 17;
/// Bytes that a template takes beside its tokens, a token beside its text, and a known message, about.
const TEMPLATE_BYTES: usize = 96;
const TOKEN_BYTES: usize = 24;
const KNOWN_BYTES: usize = 32;
/// Stands for a token that varies.
const MASK: &str = "<*>";

/// The templates of many messages.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    /// Templates by asset, number of tokens and prefix.
    groups: HashMap<(u32, usize, u64), Vec<u32>>,
    tokens: Vec<Vec<Box<str>>>,
    /// Whose messages, by template.
    assets: Vec<u32>,
    /// Template by asset and masked message.
    known: HashMap<(u32, u64), u32>,
    masked: String,
    /// Numbers of templates that were forgotten.
    free: Vec<u32>,
    bytes: usize,
    /// Messages whose template there was no room for.
    pub(crate) refused: u64,
}

impl Templates {
    /// The template of a message of `asset`. Messages must come in an order that does not depend on chance, since
    /// templates become more general with each.
    pub(crate) fn of(&mut self, asset: u32, message: &str) -> u32 {
        let mut masked = std::mem::take(&mut self.masked);
        mask(message, &mut masked);
        let key = (asset, xxh3_64(masked.as_bytes()));
        let template = match self.known.get(&key) {
            Some(template) => *template,
            None => {
                let template = self.similar(asset, &masked);
                if self.known.len() >= MOST_KNOWN {
                    self.known.clear();
                }
                self.known.insert(key, template);
                template
            }
        };
        self.masked = masked;
        template
    }

    /// Adds a template that an earlier process had found; returns its number.
    pub(crate) fn restore(&mut self, asset: u32, text: &str) -> u32 {
        let tokens: Vec<&str> = text.split(' ').filter(|token| !token.is_empty()).collect();
        let template = self.put(asset, &tokens);
        self.groups.entry(group(asset, &tokens)).or_default().push(template);
        template
    }

    /// Forgets the templates that are not among `used`; their numbers are given to others. Returns how many.
    pub(crate) fn retain(&mut self, used: &HashSet<u32>) -> u64 {
        let mut forgotten = 0;
        for (template, tokens) in self.tokens.iter_mut().enumerate().filter(|(_, tokens)| !tokens.is_empty()) {
            if !used.contains(&(template as u32)) {
                self.bytes -= bytes_of(tokens);
                *tokens = Vec::new();
                self.free.push(template as u32);
                forgotten += 1;
            }
        }
        self.groups.retain(|_, templates| {
            templates.retain(|template| used.contains(template));
            !templates.is_empty()
        });
        self.known = HashMap::new();
        if self.free.len() == self.tokens.len() {
            (self.tokens, self.assets, self.free) = (Vec::new(), Vec::new(), Vec::new());
        }
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        forgotten
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.known.len() * KNOWN_BYTES + self.free.len() * TOKEN_BYTES
    }

    fn put(&mut self, asset: u32, tokens: &[&str]) -> u32 {
        // An empty message has a token as well: templates without any are free.
        let tokens: Vec<Box<str>> = match tokens {
            [] => vec!["".into()],
            tokens => tokens.iter().map(|token| (*token).into()).collect(),
        };
        self.bytes += bytes_of(&tokens);
        match self.free.pop() {
            Some(template) => {
                (self.tokens[template as usize], self.assets[template as usize]) = (tokens, asset);
                template
            }
            None => {
                self.tokens.push(tokens);
                self.assets.push(asset);
                self.tokens.len() as u32 - 1
            }
        }
    }

    /// Whose messages they are.
    pub(crate) fn asset(&self, template: u32) -> Option<u32> {
        self.assets.get(template as usize).copied()
    }

    /// The tokens of a template.
    pub(crate) fn text(&self, template: u32) -> String {
        self.tokens.get(template as usize).map(|tokens| tokens.join(" ")).unwrap_or_default()
    }

    fn similar(&mut self, asset: u32, masked: &str) -> u32 {
        let tokens: Vec<&str> = masked.split(' ').filter(|token| !token.is_empty()).collect();
        let full = self.tokens.len() - self.free.len() >= MOST_TEMPLATES;
        let group = group(asset, &tokens);
        let alike = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        let mut best: Option<(f32, u32)> = None;
        for &template in alike.iter() {
            let same = self.tokens[template as usize].iter().zip(&tokens).filter(|(a, b)| &***a == **b).count();
            let share = if tokens.is_empty() { 1.0 } else { same as f32 / tokens.len() as f32 };
            if best.is_none_or(|(most, _)| share > most) {
                best = Some((share, template));
            }
        }
        match best {
            Some((share, template)) if share >= SIMILAR => {
                for (known, token) in self.tokens[template as usize].iter_mut().zip(&tokens) {
                    if &**known != *token {
                        self.bytes = (self.bytes + MASK.len()).saturating_sub(known.len());
                        *known = MASK.into();
                    }
                }
                template
            }
            _ if full => {
                self.refused += 1;
                self.tokens.len() as u32 - 1
            }
            _ => {
                let template = self.put(asset, &tokens);
                self.groups.entry(group).or_default().push(template);
                template
            }
        }
    }
}

fn bytes_of(tokens: &[Box<str>]) -> usize {
    TEMPLATE_BYTES + tokens.iter().map(|token| token.len() + TOKEN_BYTES).sum::<usize>()
}

/// The group of templates in which a message's is.
fn group(asset: u32, tokens: &[&str]) -> (u32, usize, u64) {
    let prefix: String = tokens.iter().filter(|token| **token != MASK).take(PREFIX).copied().collect();
    (asset, tokens.len(), xxh3_64(prefix.as_bytes()))
}

/// Writes the tokens of a message, one space between them, with what varies by its look masked.
fn mask(message: &str, masked: &mut String) {
    masked.clear();
    let mut end = message.len().min(MOST_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let tokens = message.as_bytes()[..end].split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty());
    for token in tokens.take(MOST_TOKENS) {
        // Delimiters are ASCII, so what lies between them is whole characters.
        match std::str::from_utf8(token) {
            Ok(text) if !varies(token) => masked.push_str(text),
            _ => masked.push_str(MASK),
        }
        masked.push(' ');
    }
}

fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b',' | b';' | b'=' | b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'"' | b'|')
}

/// True for numbers with signs, units, times, versions and addresses, and for ids.
fn varies(token: &[u8]) -> bool {
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return false;
    }
    let begin = token.iter().take_while(|byte| byte.is_ascii_punctuation()).count();
    let end = token.len() - token.iter().rev().take_while(|byte| byte.is_ascii_punctuation()).count();
    let token = &token[begin..end];
    let letters = token.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let is_hexadecimal = || token.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b'.'));
    letters == 0
        || digits * 2 >= token.len()
        || (token.len() >= 16 && digits >= 4)
        || (token.len() >= 8 && is_hexadecimal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_ids_are_masked_and_words_are_not() {
        let masked = |message: &str| {
            let mut text = String::new();
            mask(message, &mut text);
            text.trim_end().to_string()
        };
        assert_eq!(masked("took 13ms at 16:42:09.486"), "took <*> at <*>");
        assert_eq!(masked("id=8a533bf9-bd12-4608-a8eb-606890982448, user=ann"), "id <*> user ann");
        assert_eq!(masked("OrderServiceImpl#68 saved"), "OrderServiceImpl#68 saved");
        assert_eq!(masked("{\"level\":\"info\"}"), "level : info");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn messages_that_differ_in_few_words_share_a_template_of_one_asset() {
        let mut templates = Templates::default();
        let one = templates.of(0, "order saved for customer ann in store north");
        assert_eq!(templates.of(0, "order saved for customer bob in store south"), one);
        assert_eq!(templates.text(one), "order saved for customer <*> in store <*>");
        assert_ne!(templates.of(1, "order saved for customer ann in store north"), one);
        assert_ne!(templates.of(0, "payment refused for customer ann in store north"), one);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let mut templates = Templates::default();
        let long = "ä".repeat(MOST_BYTES);
        assert_eq!(templates.of(0, &long), templates.of(0, &long));
    }
}
