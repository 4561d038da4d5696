fn main() {
    afl::fuzz!(|data: &[u8]| inputs::feed(data));
}
