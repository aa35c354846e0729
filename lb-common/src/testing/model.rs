//! The packet path's surroundings as ordinary maps.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::HashMap,
};

use crate::{
    abi::{Address, Backend, CachedHop, Flow, FlowKey, Hop, Service, Vip, VipKey},
    packet::Packet,
    tables::{Draft, FlowRef, Refused, Tables},
    verdict::Reason,
};

/// Bytes kept free in front of a frame, as drivers do.
const HEADROOM: usize = 64;

/// A frame in ordinary memory.
pub struct Buffer {
    // Words, so that the start is even.
    words: Vec<u64>,
    start: usize,
    end: usize,
}

impl Buffer {
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let end = HEADROOM + frame.len();
        let mut buffer = Self { words: vec![0; end.div_ceil(8)], start: HEADROOM, end };
        // SAFETY: the words hold `end` bytes and are borrowed for this statement alone.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(buffer.words.as_mut_ptr().cast(), end) };
        bytes[HEADROOM..].copy_from_slice(frame);
        buffer
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start and end lie within the words.
        unsafe {
            let first = self.words.as_ptr().cast::<u8>().add(self.start);
            std::slice::from_raw_parts(first, self.end - self.start)
        }
    }
}

// SAFETY: the words live as long as the buffer, and `&mut self` guards every writing access.
unsafe impl Packet for Buffer {
    fn bounds(&self) -> (usize, usize) {
        let base = self.words.as_ptr() as usize;
        (base + self.start, base + self.end)
    }

    fn adjust_head(&mut self, by: i32) -> bool {
        match self.start.checked_add_signed(by as isize) {
            Some(start) if start <= self.end => self.start = start,
            _ => return false,
        }
        true
    }
}

/// Tables that a test fills and reads as it likes.
pub struct Model {
    pub flows: RefCell<HashMap<FlowKey, Box<UnsafeCell<Flow>>>>,
    pub max_flows: usize,
    pub vips: HashMap<VipKey, Vip>,
    pub addresses: Vec<Address>,
    pub services: Vec<Service>,
    pub rings: Vec<u32>,
    pub backends: Vec<Backend>,
    pub hops: RefCell<Vec<CachedHop>>,
    /// What routing answers; `None`: no route.
    pub routes: HashMap<Address, Hop>,
    pub load: RefCell<Vec<u64>>,
    pub opened: RefCell<Vec<u64>>,
    pub ports: RefCell<Vec<u32>>,
    pub source_ports: (u16, u16),
    pub now: Cell<u64>,
    pub ingress: u32,
    draft: UnsafeCell<Draft>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            flows: RefCell::default(),
            max_flows: 1024,
            vips: HashMap::new(),
            addresses: Vec::new(),
            services: Vec::new(),
            rings: Vec::new(),
            backends: Vec::new(),
            hops: RefCell::default(),
            routes: HashMap::new(),
            load: RefCell::default(),
            opened: RefCell::default(),
            ports: RefCell::default(),
            source_ports: (2048, 30720),
            now: Cell::new(1 << 40),
            ingress: 1,
            draft: UnsafeCell::default(),
        }
    }
}

impl Model {
    /// A copy of a flow entry.
    #[must_use]
    pub fn entry(&self, key: &FlowKey) -> Option<Flow> {
        // SAFETY: tests are single-threaded, and no reference into the entry is held.
        self.flows.borrow().get(key).map(|flow| unsafe { *flow.get() })
    }
}

impl Tables for Model {
    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        // SAFETY: a box does not move, and the pipeline forgets an entry when it removes it.
        self.flows.borrow().get(key).map(|flow| unsafe { FlowRef::new(flow.get()) })
    }

    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        let mut flows = self.flows.borrow_mut();
        if flows.contains_key(key) {
            return Err(Refused::Taken);
        }
        if flows.len() >= self.max_flows {
            return Err(Refused::Full);
        }
        flows.insert(*key, Box::new(UnsafeCell::new(*flow)));
        Ok(())
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn mark(&self, flow: FlowRef, bits: u32) -> u32 {
        let before = flow.state();
        // SAFETY: tests are single-threaded; the entry lives in its box.
        unsafe { (*flow.as_ptr()).state = before | bits };
        before
    }

    fn vip(&self, key: &VipKey) -> Option<Vip> {
        self.vips.get(key).copied()
    }

    fn owns(&self, address: &Address) -> bool {
        self.addresses.contains(address)
    }

    fn service(&self, id: u32) -> Option<Service> {
        self.services.get(id as usize).copied()
    }

    fn ring(&self, slot: u32) -> Option<u32> {
        self.rings.get(slot as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        self.backends.get(id as usize).copied()
    }

    fn hop(&self, backend: u32) -> Option<CachedHop> {
        self.hops.borrow().get(backend as usize).copied()
    }

    fn save_hop(&self, backend: u32, hop: &CachedHop) {
        self.hops.borrow_mut()[backend as usize] = *hop;
    }

    fn next_port(&self, load: u32) -> [u8; 2] {
        let (first, count) = self.source_ports;
        let mut ports = self.ports.borrow_mut();
        let cursor = &mut ports[load as usize];
        let port = u32::from(first) + *cursor % u32::from(count);
        *cursor = cursor.wrapping_add(1);
        (port as u16).to_be_bytes()
    }

    fn count_in(&self, load: u32) {
        self.load.borrow_mut()[load as usize] += 1;
    }

    fn count_out(&self, load: u32) {
        self.load.borrow_mut()[load as usize] -= 1;
    }

    fn opened(&self, backend: u32) {
        self.opened.borrow_mut()[backend as usize] += 1;
    }

    fn with_draft<R>(&self, work: impl FnOnce(&mut Draft) -> R) -> Option<R> {
        // SAFETY: tests are single-threaded, and the pipeline lends the draft once at a time.
        Some(work(unsafe { &mut *self.draft.get() }))
    }

    fn drafted(&self) -> Option<FlowRef> {
        // SAFETY: the draft lives as long as the model.
        Some(unsafe { FlowRef::new(&raw mut (*self.draft.get()).flow) })
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn route(&self, _: &Address, dst: &Address, _: u32, hop: &mut Hop) -> Result<(), Reason> {
        *hop = *self.routes.get(dst).ok_or(Reason::NoRoute)?;
        Ok(())
    }
}
