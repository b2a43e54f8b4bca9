//! Events that break their contract on purpose, each in one known way, in a share that can be set.
//!
//! Some faults are in the data and are built into the event; others are in the bytes and are put in after encoding, by
//! [`Fault::on_bytes`]. Nothing here checks a contract.

use serde_json::{Value, json};

use super::Product;
use super::calendar::Calendar;
use super::rng::Rng;

/// One way to break an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A receipt line of zero units.
    QuantityZero,
    /// The retailer matches more than the coupon took off.
    CouponMatchAboveCoupon,
    /// A sales value below zero.
    NegativeAmount,
    /// A till whose clock runs two days ahead.
    ClockAhead,
    /// A code that the contract does not list.
    UnknownCode,
    /// A bar code with a letter in it.
    BadBarcode,
    /// A campaign that ends before it starts.
    DatesSwapped,
    /// Children counted in a household without children, or the other way round.
    Contradiction,
    /// A promotion without display and mailer.
    PromotedNowhere,
    /// A key that names somebody else.
    KeyMismatch,
    /// No key at all.
    KeyMissing,
    /// The value ends in the middle.
    Truncated,
    /// Bytes follow the value.
    TrailingBytes,
    /// The schema id before the value was left out.
    FrameMissing,
    /// A schema id that no registry knows.
    UnknownSchema,
    /// A value of no bytes, which is not a tombstone.
    EmptyValue,
}

impl Fault {
    /// Every fault there is.
    pub const ALL: [Fault; 16] = [
        Fault::QuantityZero,
        Fault::CouponMatchAboveCoupon,
        Fault::NegativeAmount,
        Fault::ClockAhead,
        Fault::UnknownCode,
        Fault::BadBarcode,
        Fault::DatesSwapped,
        Fault::Contradiction,
        Fault::PromotedNowhere,
        Fault::KeyMismatch,
        Fault::KeyMissing,
        Fault::Truncated,
        Fault::TrailingBytes,
        Fault::FrameMissing,
        Fault::UnknownSchema,
        Fault::EmptyValue,
    ];

    /// The violation code with which the event must end in quarantine.
    pub fn code(self) -> &'static str {
        match self {
            Fault::QuantityZero
            | Fault::CouponMatchAboveCoupon
            | Fault::DatesSwapped
            | Fault::Contradiction
            | Fault::PromotedNowhere => "RULE_FAILED",
            Fault::NegativeAmount => "FIELD_RANGE",
            Fault::ClockAhead => "EVENT_FUTURE",
            Fault::UnknownCode => "FIELD_ENUM",
            Fault::BadBarcode => "FIELD_PATTERN",
            Fault::KeyMismatch => "KEY_MISMATCH",
            Fault::KeyMissing => "KEY_MISSING",
            Fault::Truncated => "PAYLOAD_MALFORMED",
            Fault::TrailingBytes => "PAYLOAD_TRAILING_BYTES",
            Fault::FrameMissing | Fault::EmptyValue => "FRAME_MISSING",
            Fault::UnknownSchema => "SCHEMA_UNKNOWN",
        }
    }

    /// Whether an event of this product can be broken in this way.
    ///
    /// A compacted topic refuses a record without a key before any contract is asked, so tables cannot miss theirs.
    pub fn applies_to(self, product: Product) -> bool {
        match self {
            Fault::QuantityZero | Fault::CouponMatchAboveCoupon | Fault::NegativeAmount | Fault::ClockAhead => {
                product == Product::Transactions
            }
            Fault::UnknownCode => matches!(
                product,
                Product::Products | Product::Promotions | Product::Households | Product::CampaignDescriptions
            ),
            Fault::BadBarcode => matches!(product, Product::Coupons | Product::CouponRedemptions),
            Fault::DatesSwapped => product == Product::CampaignDescriptions,
            Fault::Contradiction => product == Product::Households,
            Fault::PromotedNowhere => product == Product::Promotions,
            Fault::KeyMissing => !product.is_table(),
            Fault::KeyMismatch
            | Fault::Truncated
            | Fault::TrailingBytes
            | Fault::FrameMissing
            | Fault::UnknownSchema
            | Fault::EmptyValue => true,
        }
    }

    /// Breaks the data of an event that happens at `now_ms`; a fault of the key or of the bytes leaves the data as it is.
    pub(super) fn on_value(self, product: Product, value: &mut Value, calendar: &Calendar, now_ms: i64) {
        match self {
            Fault::QuantityZero => value["quantity"] = json!(0),
            Fault::CouponMatchAboveCoupon => {
                let coupon = value["coupon_disc"].as_f64().unwrap_or_default();
                value["coupon_match_disc"] = json!(coupon + 0.35);
            }
            Fault::NegativeAmount => {
                let amount = value["sales_value"].as_f64().unwrap_or_default();
                value["sales_value"] = json!(-amount - 0.01);
            }
            Fault::ClockAhead => {
                value["transaction_timestamp"] = json!(calendar.text(now_ms.saturating_add(2 * 86_400_000)));
            }
            Fault::UnknownCode => match product {
                Product::Products => value["brand"] = json!("Nationl"),
                Product::Promotions => value["display_location"] = json!("8"),
                Product::Households => value["age"] = json!("thirties"),
                _ => value["campaign_type"] = json!("Type Q"),
            },
            Fault::BadBarcode => {
                let mut code = value["coupon_upc"].as_str().unwrap_or_default().to_owned();
                code.replace_range(..1.min(code.len()), "X");
                value["coupon_upc"] = json!(code);
            }
            Fault::DatesSwapped => {
                let start = value["start_date"].take();
                value["start_date"] = value["end_date"].take();
                value["end_date"] = start;
            }
            Fault::Contradiction => {
                let none = value["kids_count"] == "0";
                value["kids_count"] = json!(if none { "2" } else { "0" });
            }
            Fault::PromotedNowhere => {
                value["display_location"] = json!("0");
                value["mailer_location"] = json!("0");
            }
            Fault::KeyMismatch
            | Fault::KeyMissing
            | Fault::Truncated
            | Fault::TrailingBytes
            | Fault::FrameMissing
            | Fault::UnknownSchema
            | Fault::EmptyValue => {}
        }
    }

    /// Breaks the encoded value of a record, which begins with the five bytes of a schema id; a fault of the data or of the
    /// key leaves the bytes as they are.
    pub fn on_bytes(self, framed: &mut Vec<u8>) {
        match self {
            // Without its last byte no record of these schemas is whole, since none ends in a field of no bytes.
            Fault::Truncated => framed.truncate(framed.len().saturating_sub(1)),
            Fault::TrailingBytes => framed.extend_from_slice(b"\x00weir"),
            Fault::FrameMissing => {
                framed.drain(..5.min(framed.len()));
            }
            Fault::UnknownSchema => {
                if let Some(id) = framed.get_mut(1..5) {
                    id.copy_from_slice(&i32::MAX.to_be_bytes());
                }
            }
            Fault::EmptyValue => framed.clear(),
            _ => {}
        }
    }
}

/// How many events are broken in each way: the share, from 0 to 1, of the events that can be broken in that way.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares([f64; Fault::ALL.len()]);

impl Shares {
    /// Nothing is broken.
    pub fn none() -> Shares {
        Shares([0.0; Fault::ALL.len()])
    }

    /// A working day: mostly tills that scan a coupon without a product, now and then everything else.
    pub fn typical() -> Shares {
        let mut shares = Shares([0.0005; Fault::ALL.len()]);
        shares.set(Fault::QuantityZero, 0.006);
        shares.set(Fault::CouponMatchAboveCoupon, 0.001);
        shares.set(Fault::NegativeAmount, 0.001);
        shares.set(Fault::UnknownCode, 0.01);
        shares.set(Fault::BadBarcode, 0.01);
        shares
    }

    /// Every fault with the same share.
    pub fn all(share: f64) -> Shares {
        let mut shares = Shares::none();
        for fault in Fault::ALL {
            shares.set(fault, share);
        }
        shares
    }

    /// Sets the share of one fault; what is not between 0 and 1 is taken as the nearer of the two, a NaN as 0.
    pub fn set(&mut self, fault: Fault, share: f64) {
        self.0[fault as usize] = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    }

    /// The share of one fault.
    pub fn get(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }

    /// Decides whether the next event of a product is broken, and how. Shares that add up to more than 1 are cut off there.
    pub(super) fn draw(&self, product: Product, rng: &mut Rng) -> Option<Fault> {
        let mut at = rng.unit();
        for fault in Fault::ALL.into_iter().filter(|fault| fault.applies_to(product)) {
            let share = self.get(fault);
            if at < share {
                return Some(fault);
            }
            at -= share;
        }
        None
    }
}
