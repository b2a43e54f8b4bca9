//! The stream as a whole: valid events fit their Avro schemas and keep their rules, broken ones come in the asked shares.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;
use weir_avro::{JsonForm, Schema, from_json};

use super::*;

/// Tuesday 2026-03-03, 14:00 UTC.
const NOW: i64 = 1_772_546_400_000;

fn schema(product: Product) -> Schema {
    let file = match product {
        Product::Transactions => "sales/Transaction",
        Product::Products => "merchandising/Product",
        Product::Promotions => "merchandising/Promotion",
        Product::Households => "customer/Household",
        Product::CampaignDescriptions => "marketing/CampaignDescription",
        Product::Campaigns => "marketing/Campaign",
        Product::Coupons => "marketing/Coupon",
        Product::CouponRedemptions => "marketing/CouponRedemption",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../schemas/{file}.avsc"));
    Schema::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The promises of the contracts that the generator could break, in words of its own.
fn keeps_its_rules(product: Product, event: &Value) -> bool {
    let number = |field: &str| event[field].as_f64().unwrap();
    let text = |field: &str| event[field].as_str().unwrap();
    match product {
        Product::Transactions => {
            let amounts = ["sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"];
            number("quantity") > 0.0
                && number("coupon_match_disc") <= number("coupon_disc")
                && amounts.iter().all(|field| number(field) >= 0.0)
                && (1.0..=54.0).contains(&number("week"))
        }
        Product::Products => ["National", "Private"].contains(&text("brand")),
        Product::Promotions => {
            "012345679A".contains(text("display_location"))
                && "0ACDFHJLPXZ".contains(text("mailer_location"))
                && (text("display_location") != "0" || text("mailer_location") != "0")
        }
        Product::Households => {
            text("age") != "thirties" && text("household_comp").ends_with("No Kids") == (text("kids_count") == "0")
        }
        Product::CampaignDescriptions => text("campaign_type") != "Type Q" && text("start_date") <= text("end_date"),
        Product::Campaigns => number("household_id") >= 1.0,
        Product::Coupons | Product::CouponRedemptions => {
            text("coupon_upc").len() == 11 && text("coupon_upc").bytes().all(|b| b.is_ascii_digit())
        }
    }
}

#[test]
fn equal_seeds_give_equal_streams_and_others_do_not() {
    let stream = |seed| Generator::new(seed, NOW).with_shares(Shares::typical()).take(5_000).collect::<Vec<_>>();
    assert_eq!(stream(1), stream(1));
    assert_ne!(stream(1), stream(2));
}

#[test]
fn the_tables_come_first_and_clean() {
    let mut generator = Generator::new(4, NOW).with_shares(Shares::all(1.0));
    let snapshot: Vec<Event> = (0..generator.snapshot_left()).filter_map(|_| generator.next()).collect();
    assert_eq!(generator.snapshot_left(), 0);
    assert!(snapshot.iter().all(|event| event.fault.is_none() && event.product.is_table() && event.value.is_some()));
    let products: HashSet<Product> = snapshot.iter().map(|event| event.product).collect();
    assert_eq!(products.len(), 3);
    assert!(generator.take(100).all(|event| event.fault.is_some() || event.value.is_none()));
}

#[test]
fn every_event_fits_its_schema_and_valid_ones_keep_their_rules() {
    let schemas: HashMap<Product, Schema> = Product::ALL.map(|product| (product, schema(product))).into();
    let mut seen: HashMap<Product, usize> = HashMap::new();
    let mut lines = HashSet::new();
    let mut tombstones = 0;
    for event in Generator::new(5, NOW).with_shares(Shares::all(0.01)).take(60_000) {
        let Some(value) = &event.value else {
            assert!(event.product.is_table());
            tombstones += 1;
            continue;
        };
        let bytes = from_json(&schemas[&event.product], value, JsonForm::Plain);
        assert!(bytes.is_ok(), "{}: {value}: {bytes:?}", event.product);
        let data_is_broken = event.fault.is_some_and(|fault| {
            // A clock that runs ahead is seen only against the time of the check.
            matches!(fault.code(), "RULE_FAILED" | "FIELD_RANGE" | "FIELD_ENUM" | "FIELD_PATTERN")
        });
        assert_eq!(keeps_its_rules(event.product, value), !data_is_broken, "{:?}: {value}", event.fault);
        if event.fault.is_none() {
            assert_eq!(event.key, Some(value[event.product.key_field()].to_string().replace('"', "")));
        }
        if event.product == Product::Transactions {
            assert!(lines.insert((value["basket_id"].as_i64(), value["product_id"].as_i64())), "{value}");
        }
        *seen.entry(event.product).or_default() += 1;
    }
    assert!(Product::ALL.iter().all(|product| seen.get(product).is_some_and(|n| *n >= 5)), "{seen:?}");
    assert!(seen[&Product::Transactions] > 30_000, "{seen:?}");
    assert!(tombstones > 0);
}

#[test]
fn faults_come_in_the_asked_share() {
    let mut shares = Shares::none();
    shares.set(Fault::QuantityZero, 0.05);
    shares.set(Fault::CouponMatchAboveCoupon, 0.02);
    shares.set(Fault::BadBarcode, 0.2);
    let mut generator = Generator::new(6, NOW).with_shares(shares.clone());
    let snapshot = generator.snapshot_left();
    generator.nth(snapshot - 1);
    let mut possible: HashMap<Fault, u32> = HashMap::new();
    let mut actual: HashMap<Fault, u32> = HashMap::new();
    for event in generator.take(100_000).filter(|event| event.value.is_some()) {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.applies_to(event.product)) {
            *possible.entry(fault).or_default() += 1;
        }
        if let Some(fault) = event.fault {
            *actual.entry(fault).or_default() += 1;
        }
    }
    for fault in Fault::ALL {
        let share = f64::from(actual.get(&fault).copied().unwrap_or(0)) / f64::from(possible[&fault]);
        assert!((share - shares.get(fault)).abs() <= shares.get(fault) * 0.15, "{fault:?}: {share}");
    }
}

#[test]
fn a_share_is_kept_between_zero_and_one() {
    let mut shares = Shares::none();
    for (asked, kept) in [(-1.0, 0.0), (2.0, 1.0), (f64::NAN, 0.0), (0.25, 0.25)] {
        shares.set(Fault::Truncated, asked);
        assert_eq!(shares.get(Fault::Truncated), kept);
    }
}

#[test]
fn broken_bytes_are_broken_in_the_named_way() {
    let whole = [0u8, 0, 0, 0, 9, 2, 4];
    #[track_caller]
    fn check(fault: Fault, whole: &[u8], expect: &[u8]) {
        let mut bytes = whole.to_vec();
        fault.on_bytes(&mut bytes);
        assert_eq!(bytes, expect, "{fault:?}");
    }
    check(Fault::Truncated, &whole, &[0, 0, 0, 0, 9, 2]);
    check(Fault::TrailingBytes, &whole, b"\0\0\0\0\x09\x02\x04\0weir");
    check(Fault::FrameMissing, &whole, &[2, 4]);
    check(Fault::UnknownSchema, &whole, &[0, 0x7f, 0xff, 0xff, 0xff, 2, 4]);
    check(Fault::EmptyValue, &whole, &[]);
    check(Fault::QuantityZero, &whole, &whole);
    check(Fault::Truncated, &[], &[]);
    check(Fault::UnknownSchema, &[0], &[0]);
}

#[test]
fn the_clock_runs_by_itself_or_is_set() {
    let times: Vec<i64> = Generator::new(7, NOW).take(20_000).map(|event| event.time_ms).collect();
    assert!(times.is_sorted());
    assert!(times[19_999] > NOW + 60_000);

    let mut generator = Generator::new(7, NOW);
    generator.set_now(NOW + 5);
    generator.set_now(NOW - 5);
    assert!(generator.by_ref().take(20_000).all(|event| event.time_ms == NOW + 5));
}

#[test]
fn weeks_and_campaigns_go_on_through_a_year() {
    let mut generator = Generator::new(8, NOW);
    let mut campaigns = HashSet::new();
    let mut weeks = HashSet::new();
    for day in 0..365 {
        generator.set_now(NOW + day * 86_400_000);
        for event in generator.by_ref().take(500) {
            match (event.product, event.value) {
                (Product::CampaignDescriptions, Some(value)) => campaigns.insert(value["campaign_id"].as_i64()),
                (Product::Transactions, Some(value)) => weeks.insert(value["week"].as_i64()),
                _ => false,
            };
        }
    }
    assert!(campaigns.len() > 20, "{}", campaigns.len());
    assert!(weeks.len() >= 52, "{}", weeks.len());
}
