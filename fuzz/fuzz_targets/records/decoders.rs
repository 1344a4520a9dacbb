//! Decoders that make of a unit what is easily told: the executor cannot tell the difference.

use guest_abi::decode::{BROKEN, COUNT_AT, LENS_AT, PACKED_AT, PLAIN_AT, UNITS_AT, Unit};
use guest_abi::exchange::{CODEC_ZLIB, GO_ON, Head};
use guest_abi::layout::EXCHANGE_LEN;
use vm_memory::{MmapRegion, VolatileMemory, VolatileSlice};
use vmm::exec::DecoderSource;
use vmm::sandbox::Sandbox;
use vmm::{Error, GuestFault};
use zerocopy::{FromBytes, IntoBytes};

/// What `packed` becomes: itself, over and over, or nothing if it begins with a byte that is taken for broken. As of a real
/// codec, one of them may end before the unit does.
pub(crate) fn decoded(codec: u32, packed: &[u8], unit_len: u32) -> Option<Vec<u8>> {
    let len = unit_len as usize;
    let len = if codec == CODEC_ZLIB { len.min(2 * packed.len()) } else { len };
    (packed[0] != 7).then(|| packed.iter().copied().cycle().take(len).collect())
}

pub(crate) struct Decoders;

impl DecoderSource for Decoders {
    fn start(&self) -> Result<Box<dyn Sandbox>, Error> {
        let exchange = MmapRegion::new(EXCHANGE_LEN as usize).expect("there is memory");
        Ok(Box::new(Decoder(exchange)))
    }

    fn starts_when_confined(&self) -> bool {
        true
    }
}

struct Decoder(MmapRegion);

impl Decoder {
    fn get<T: FromBytes>(&self, at: u64) -> T {
        let mut bytes = vec![0; size_of::<T>()];
        self.slice(at, bytes.len()).copy_to(&mut bytes);
        T::read_from_bytes(&bytes).expect("it has its size")
    }

    fn slice(&self, at: u64, len: usize) -> VolatileSlice<'_> {
        self.exchange().subslice(at as usize, len).expect("it is inside the exchange")
    }

    /// The length of one unit, or that it is broken.
    fn decode(&self, unit: Unit) -> u32 {
        let mut packed = vec![0; unit.packed_len as usize];
        self.slice(PACKED_AT + u64::from(unit.packed_at), packed.len()).copy_to(&mut packed);
        let Some(plain) = decoded(unit.codec, &packed, unit.plain_len) else { return BROKEN };
        self.slice(PLAIN_AT + u64::from(unit.plain_at), plain.len()).copy_from(&plain);
        plain.len() as u32
    }
}

impl Sandbox for Decoder {
    fn run(&mut self) -> Result<(), GuestFault> {
        let count: u32 = self.get(COUNT_AT);
        for number in 0..u64::from(count) {
            let len = self.decode(self.get(UNITS_AT + number * size_of::<Unit>() as u64));
            self.slice(LENS_AT + 4 * number, 4).copy_from(&len.to_le_bytes());
        }
        let head = Head { state: GO_ON, count, ..Head::default() };
        self.slice(0, size_of::<Head>()).copy_from(head.as_bytes());
        Ok(())
    }

    fn exchange(&self) -> VolatileSlice<'_> {
        self.0.as_volatile_slice()
    }
}
