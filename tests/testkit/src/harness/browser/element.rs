//! Elements of a page, found as users perceive them: by role and name (<https://www.w3.org/TR/accname-1.2/>).

use serde_json::{Value, json};

use super::Browser;

/// An element of a page.
pub struct Element<'a> {
    browser: &'a Browser,
    /// Chromium's number of it.
    node: u64,
    name: String,
}

/// The scope of a search for elements: the page, or a part of it.
pub trait Scope {
    /// The browser, and the node at which the search begins.
    fn root(&self) -> (&Browser, u64);

    /// Returns all visible elements with this role, in the order of the page.
    fn all(&self, role: &str) -> Vec<Element<'_>> {
        let (browser, root) = self.root();
        let found = browser.tell("Accessibility.queryAXTree", &json!({"backendNodeId": root, "role": role}));
        let found = found["nodes"].as_array().expect("nodes").iter();
        let element = |node: &Value| {
            let name = node["name"]["value"].as_str().unwrap_or_default().to_owned();
            Some(Element { browser, node: node["backendDOMNodeId"].as_u64()?, name })
        };
        found.filter(|node| node["ignored"] == false).filter_map(element).collect()
    }

    /// Waits for the first element with this role whose name is, or contains, this text.
    fn find(&self, role: &str, name: &str) -> Element<'_> {
        let (browser, _) = self.root();
        browser.wait_until(&format!("there is a {role} {name:?}"), || self.look_for(role, name))
    }

    /// Returns that element if it is present now.
    fn look_for(&self, role: &str, name: &str) -> Option<Element<'_>> {
        let mut found = self.all(role);
        let at = found.iter().position(|element| element.name == name);
        let at = at.or_else(|| found.iter().position(|element| element.name.contains(name)))?;
        Some(found.swap_remove(at))
    }

    /// Waits for the first element with this role that shows all of these texts. For elements that take no name from
    /// their content, such as a table row. Line breaks do not matter.
    fn find_reading(&self, role: &str, texts: &[&str]) -> Element<'_> {
        let (browser, _) = self.root();
        let reads = |element: &Element| {
            let text = in_one_line(&element.text());
            texts.iter().all(|wanted| text.contains(&in_one_line(wanted)))
        };
        let what = format!("there is a {role} with {texts:?}");
        browser.wait_until(&what, || self.all(role).into_iter().find(reads))
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Scope for Browser {
    fn root(&self) -> (&Browser, u64) {
        let document = self.tell("DOM.getDocument", &json!({"depth": 0}));
        (self, document["root"]["backendNodeId"].as_u64().expect("a node"))
    }
}

impl Scope for Element<'_> {
    fn root(&self) -> (&Browser, u64) {
        (self.browser, self.node)
    }
}

impl Element<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the visible text of the element; empty if it is gone.
    pub fn text(&self) -> String {
        let node = json!({"backendNodeId": self.node});
        let Some(object) = self.browser.try_tell("DOM.resolveNode", &node) else { return String::new() };
        let call = json!({
            "objectId": object["object"]["objectId"],
            "functionDeclaration": "function () { return this.innerText }",
            "returnByValue": true,
        });
        let text = self.browser.tell("Runtime.callFunctionOn", &call);
        text["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Clicks into its middle; an element above it there would get the click.
    pub fn click(&self) {
        let node = json!({"backendNodeId": self.node});
        self.browser.tell("DOM.scrollIntoViewIfNeeded", &node);
        let quads = self.browser.tell("DOM.getContentQuads", &node);
        let corner = |index: usize| quads["quads"][0][index].as_f64().expect("it is shown");
        let (x, y) = (f64::midpoint(corner(0), corner(4)), f64::midpoint(corner(1), corner(5)));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.browser.tell("Input.dispatchMouseEvent", &event);
        }
    }

    /// Replaces its content by a text.
    pub fn write(&self, text: &str) {
        self.browser.tell("DOM.focus", &json!({"backendNodeId": self.node}));
        self.browser.script("document.activeElement.select?.()");
        self.browser.tell("Input.insertText", &json!({"text": text}));
    }
}
