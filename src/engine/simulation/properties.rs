//! What holds for every host, every loss and every trouble.
