use std::sync::OnceLock;

fn main() {
    // Begun behind the fork: its threads would not survive that.
    let site = OnceLock::new();
    afl::fuzz!(|data: &[u8]| site.get_or_init(portscan_fuzz::inputs::Paths::open).ask(data));
}
