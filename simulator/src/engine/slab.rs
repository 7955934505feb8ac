//! Items under keys that are never used twice.

/// Key of an item; after the item was removed it leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

/// A store of items that come and go.
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.1 = Some(item);
        Key { index, generation: slot.0 }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, item) = &self.slots[key.index as usize];
        item.as_ref().filter(|_| *generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, item) = &mut self.slots[key.index as usize];
        item.as_mut().filter(|_| *generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index as usize];
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(key.index);
        slot.1.take()
    }

    /// Keys of all items that fit.
    pub(crate) fn keys(&self, fits: impl Fn(&T) -> bool) -> Vec<Key> {
        let items = self.slots.iter().enumerate().filter(|(_, (_, item))| item.as_ref().is_some_and(&fits));
        items.map(|(index, (generation, _))| Key { index: index as u32, generation: *generation }).collect()
    }
}
