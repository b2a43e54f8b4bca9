//! Stream stage: landing topic to product topic or quarantine, exactly once, one verdict per event.
