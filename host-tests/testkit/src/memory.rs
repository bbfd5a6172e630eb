//! Reads the memory of a process, through `/proc`. That is what a core dump of it would contain.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The shortest inaccessible region after a linear memory, in bytes. wasmtime reserves 4 GiB of
/// address space for each linear memory.
const MIN_RESERVED: u64 = 1 << 30;

/// A mapped region of a process.
#[derive(Clone, Debug)]
pub struct Region {
    start: u64,
    end: u64,
    is_writable: bool,
    is_readable: bool,
    /// What is mapped; empty for memory of the allocator.
    pub name: String,
}

impl Region {
    const fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct ProcessMemory {
    file: File,
    regions: Vec<Region>,
}

impl ProcessMemory {
    /// Opens the memory of a process: `self`, or its id.
    #[must_use]
    pub fn of(process: &str) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        Self {
            file: File::open(format!("/proc/{process}/mem")).unwrap(),
            regions: maps.lines().map(region).collect(),
        }
    }

    /// Returns the content of each writable region.
    pub fn contents(&self) -> impl Iterator<Item = (&Region, Vec<u8>)> {
        let regions = self.regions.iter();
        let regions = regions.filter(|region| region.is_writable && region.is_readable);
        regions.map(|region| (region, self.read(region)))
    }

    /// Returns the content of each linear memory of WebAssembly: writable regions before a long
    /// one that is reserved.
    #[must_use]
    pub fn linear_memories(&self) -> Vec<Vec<u8>> {
        let mut memories = Vec::new();
        let mut current: Vec<&Region> = Vec::new();
        for region in &self.regions {
            if current.last().is_some_and(|last| last.end != region.start) {
                current.clear();
            }
            if region.is_writable {
                current.push(region);
                continue;
            }
            if !region.is_readable && region.bytes() >= MIN_RESERVED && !current.is_empty() {
                let parts = current.iter().map(|region| self.read(region));
                memories.push(parts.collect::<Vec<_>>().concat());
            }
            current.clear();
        }
        memories
    }

    /// Returns the content of the region that contains an address; nothing if there is none.
    #[must_use]
    pub fn region_at(&self, address: usize) -> Vec<u8> {
        let mut regions = self.regions.iter();
        let region = regions.find(|region| {
            usize::try_from(region.start).is_ok_and(|start| start <= address)
                && usize::try_from(region.end).is_ok_and(|end| address < end)
        });
        region.map_or_else(Vec::new, |region| self.read(region))
    }

    /// Returns the content of a region; nothing if it has been unmapped since.
    fn read(&self, region: &Region) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(region.bytes()).unwrap()];
        match self.file.read_exact_at(&mut bytes, region.start) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}

/// Parses a line of `maps` (`proc_pid_maps(5)`).
fn region(line: &str) -> Region {
    let mut words = line.split_whitespace();
    let (start, end) = words.next().unwrap().split_once('-').unwrap();
    let permissions = words.next().unwrap();
    let address = |digits| u64::from_str_radix(digits, 16).unwrap();
    Region {
        start: address(start),
        end: address(end),
        is_readable: permissions.starts_with('r'),
        is_writable: permissions.starts_with("rw"),
        name: words.nth(3).unwrap_or_default().into(),
    }
}
