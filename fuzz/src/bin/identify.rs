fn main() {
    afl::fuzz!(|data: &[u8]| inputs::identify(data));
}
