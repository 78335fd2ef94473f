//! Reads the bits of an H.264 NAL unit, without emulation prevention bytes.

/// Reads bits, from the highest of the first byte on; `None` past the end.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    rest: &'a [u8],
    byte: u8,
    /// The bits of `byte` that are left.
    left: u32,
    /// The number of zero bytes before it.
    zeros: u32,
}

impl<'a> Bits<'a> {
    /// Begins with the first byte of `payload`, which is what follows the NAL unit's header.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, byte: 0, left: 0, zeros: 0 }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            return self.next_byte();
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        Some(byte)
    }

    /// Reads one bit.
    pub fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// Reads `count` bits, at most 32.
    pub fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u64;
        for _ in 0..count {
            value = value << 1 | u64::from(self.flag()?);
        }
        u32::try_from(value).ok()
    }

    /// Reads an Exp-Golomb number, `ue(v)`.
    pub fn exp(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let value = (1_u64 << zeros) - 1 + u64::from(self.number(zeros)?);
        u32::try_from(value).ok()
    }

    /// Reads a signed Exp-Golomb number, `se(v)`.
    pub fn signed_exp(&mut self) -> Option<i32> {
        let code = i64::from(self.exp()?);
        let value = if code % 2 == 1 { code / 2 + 1 } else { -(code / 2) };
        i32::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers_match_the_standard() {
        // 1, 010, 011, 00100, 00101, then three padding bits.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        let numbers: Vec<_> = (0..5).map_while(|_| bits.exp()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&bytes);
        let numbers: Vec<_> = (0..5).map_while(|_| bits.signed_exp()).collect();
        assert_eq!(numbers, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn bytes_that_keep_start_codes_out_are_no_content() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3]);
        assert_eq!(bits.number(24), Some(1));
        assert_eq!(bits.number(16), Some(0));
        assert_eq!(bits.flag(), None);
    }

    #[test]
    fn unterminated_number_is_invalid() {
        assert_eq!(Bits::new(&[0; 12]).exp(), None);
        assert_eq!(Bits::new(&[]).exp(), None);
    }
}
