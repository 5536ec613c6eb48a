//! A growing array in chunks that can be shared with a snapshot (pure).
//!
//! Owns: which chunks are shared; a shared chunk is copied at its first write.
//! Must not: know what it holds.
//! Why not `Arc::make_mut`: it costs an atomic read-modify-write at every access, and the ledger's accounts are
//! written several million times a second; here the owner of a chunk is known from an ordinary tag.

use std::sync::Arc;

/// How many items a chunk has; small, since a write after a snapshot copies a whole one.
const CHUNK: usize = 64;

type Items<T> = Box<[T; CHUNK]>;

#[derive(Clone, Debug)]
enum Chunk<T> {
    Owned(Items<T>),
    Shared(Arc<Items<T>>),
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct CowChunks<T> {
    chunks: Vec<Chunk<T>>,
    len: usize,
}

/// The items as they stood when [`CowChunks::share`] was called.
#[derive(Clone, Debug)]
pub(crate) struct SharedChunks<T> {
    chunks: Vec<Arc<Items<T>>>,
    len: usize,
}

impl<T> Default for CowChunks<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Copy + Default> CowChunks<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// # Panics
    /// Beyond the end of the last chunk.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        match &self.chunks[index / CHUNK] {
            Chunk::Owned(items) => &items[index % CHUNK],
            Chunk::Shared(items) => &items[index % CHUNK],
        }
    }

    /// # Panics
    /// Beyond the end of the last chunk.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut T {
        let chunk = &mut self.chunks[index / CHUNK];
        if let Chunk::Shared(items) = chunk {
            *chunk = Chunk::Owned(Box::clone(items));
        }
        match chunk {
            Chunk::Owned(items) => &mut items[index % CHUNK],
            Chunk::Shared(_) => unreachable!("the chunk was made our own above"),
        }
    }

    /// Appends and returns the index.
    pub(crate) fn push(&mut self, item: T) -> usize {
        let index = self.len;
        if index == self.chunks.len() * CHUNK {
            self.chunks.push(Chunk::Owned(Box::new([T::default(); CHUNK])));
        }
        self.len += 1;
        *self.get_mut(index) = item;
        index
    }

    /// Takes the last item off.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        let item = *self.get(self.len);
        self.chunks.truncate(self.len.div_ceil(CHUNK));
        Some(item)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).map(|index| self.get(index))
    }

    /// Shares all chunks. Costs a small allocation for each chunk written since the last time, no copy of items.
    pub(crate) fn share(&mut self) -> SharedChunks<T> {
        let shared: Vec<_> = std::mem::take(&mut self.chunks)
            .into_iter()
            .map(|chunk| match chunk {
                Chunk::Owned(items) => Arc::new(items),
                Chunk::Shared(items) => items,
            })
            .collect();
        self.chunks = shared
            .iter()
            .map(|items| Chunk::Shared(Arc::clone(items)))
            .collect();
        SharedChunks {
            chunks: shared,
            len: self.len,
        }
    }
}

impl<T> SharedChunks<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|items| items.iter()).take(self.len)
    }
}
