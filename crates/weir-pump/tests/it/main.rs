//! The seam as a pump uses it: sizes, and the order of acknowledgements under any history.

mod ack_order;
mod size;
