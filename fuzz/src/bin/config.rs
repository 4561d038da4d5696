fn main() {
    afl::fuzz!(|data: &[u8]| portscan_fuzz::inputs::config(data));
}
