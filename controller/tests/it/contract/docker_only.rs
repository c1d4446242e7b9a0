//! What the simulated engine does not model: networks, mounts, Compose's eyes, and figures.
