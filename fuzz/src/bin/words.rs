fn main() {
    afl::fuzz!(|data: &[u8]| inputs::words(data));
}
