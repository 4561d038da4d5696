use inputs::Paths;

thread_local! {
    /// Begun with the first input, behind afl++'s fork: its threads would not survive that.
    static PATHS: Paths = Paths::open();
}

fn main() {
    afl::fuzz!(|data: &[u8]| PATHS.with(|paths| paths.ask(data)));
}
