//! Clock, ids, chance and wake-ups of the real world.
