//! The subset of Markdown that the documents use: links, headings, code.

/// A parsed Markdown text.
#[derive(Debug, Default)]
pub struct Markdown {
    /// The targets of links and pictures, in order.
    pub links: Vec<String>,
    /// The anchors of the headings.
    pub anchors: Vec<String>,
    /// The `code` spans within lines.
    pub spans: Vec<String>,
    /// Code blocks: language and text.
    pub blocks: Vec<(String, String)>,
}

impl Markdown {
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut block: Option<(String, String)> = None;
        for line in text.lines() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut block, fence) {
                (None, Some(language)) => block = Some((language.to_owned(), String::new())),
                (Some(_), Some(_)) => parsed.blocks.extend(block.take()),
                (Some((_, code)), None) => {
                    code.push_str(line.trim_start());
                    code.push('\n');
                }
                (None, None) => parsed.read_line(line),
            }
        }
        assert!(block.is_none(), "a code block has no end");
        parsed
    }

    fn read_line(&mut self, line: &str) {
        // Every other piece is between two backticks. A link's text may be code, its target never is.
        let pieces: Vec<&str> = line.split('`').collect();
        self.spans.extend(pieces.iter().skip(1).step_by(2).map(|&span| span.to_owned()));
        let prose: String = pieces.iter().step_by(2).copied().collect();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        self.links.extend(targets.map(|(target, _)| target.to_owned()));
        if line.starts_with('#') {
            self.anchors.push(anchor(line.trim_start_matches('#').trim()));
        }
    }
}

/// The anchor of a heading, by the rule that code forges and mdBook share.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn parse_finds_links_headings_and_code() {
    let text = "# Back up & restore `x`\nSee [`a`](b.md#c), ![picture](d.png) and `[no](link)`.\n\
                ```sh\n# no heading\nmake x\n```\n";
    let parsed = Markdown::parse(text);
    assert_eq!(parsed.links, ["b.md#c", "d.png"]);
    assert_eq!(parsed.anchors, ["back-up--restore-x"]);
    assert_eq!(parsed.spans, ["x", "a", "[no](link)"]);
    assert_eq!(parsed.blocks, [("sh".to_owned(), "# no heading\nmake x\n".to_owned())]);
}
