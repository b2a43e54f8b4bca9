//! Made-up marketing: campaigns, the coupons they hand out, the households they reach, and the weekly promotions.

use std::collections::HashSet;

use jiff::Span;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::catalogue::Article;
use super::households::{self, Household};
use super::rng::Rng;

/// One coupon of one campaign.
#[derive(Clone, Debug)]
pub struct Coupon {
    /// Eleven digits.
    pub upc: String,
    /// Indices of the articles it is good for.
    pub articles: Vec<usize>,
    /// What it takes off, in cents.
    pub cents: i64,
}

/// One campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Names the campaign everywhere.
    pub campaign_id: i32,
    /// What it hands out.
    pub coupons: Vec<Coupon>,
    /// Indices of the households it reaches.
    pub reach: HashSet<usize>,
    kind: &'static str,
    start: Date,
    end: Date,
}

impl Campaign {
    /// Plans the campaign that starts `in_days` days from `today`, which may lie in the past.
    pub fn plan(rng: &mut Rng, campaign_id: i32, today: Date, in_days: i64, articles: &[Article]) -> Campaign {
        let start = today.saturating_add(Span::new().days(in_days));
        let end = start.saturating_add(Span::new().days(rng.between(20, 60)));
        let coupons = (0..rng.between(5, 25))
            .map(|i| {
                let first = rng.below(articles.len());
                let many = rng.between(1, 10) as usize;
                let fitting = (first..articles.len()).take(many).filter(|at| !articles[*at].fuel).collect();
                let upc = format!("9{:04}{:06}", campaign_id % 10_000, i * 7919 + 17);
                Coupon { upc, articles: fitting, cents: [25, 40, 50, 75, 100, 150][rng.below(6)] }
            })
            .filter(|coupon: &Coupon| !coupon.articles.is_empty())
            .collect();
        let share = 0.02 + rng.unit() * 0.2;
        let reach = (0..households::COUNT).filter(|_| rng.chance(share)).collect();
        let kind = ["Type A", "Type B", "Type C"][rng.weighted(&[2, 6, 2])];
        Campaign { campaign_id, coupons, reach, kind, start, end }
    }

    /// Its last day is planned anew.
    pub fn replan(&mut self, rng: &mut Rng) {
        self.end = self.start.saturating_add(Span::new().days(rng.between(20, 60)));
    }

    /// Its coupons are taken on this day.
    pub fn runs(&self, day: Date) -> bool {
        (self.start..=self.end).contains(&day)
    }

    /// Its last day is over.
    pub fn over(&self, day: Date) -> bool {
        day > self.end
    }

    /// The event of `marketing.campaign_descriptions`.
    pub fn event(&self) -> Value {
        json!({
            "campaign_id": self.campaign_id,
            "campaign_type": self.kind,
            "start_date": self.start.to_string(),
            "end_date": self.end.to_string(),
        })
    }

    /// The events of `marketing.campaigns`, in the order of the households.
    pub fn reach_events(&self, households: &[Household]) -> Vec<Value> {
        let reached = households.iter().enumerate().filter(|(at, _)| self.reach.contains(at));
        let event = |(_, household): (usize, &Household)| json!({ "campaign_id": self.campaign_id, "household_id": household.household_id });
        reached.map(event).collect()
    }

    /// The events of `marketing.coupons`.
    pub fn coupon_events(&self, articles: &[Article]) -> Vec<Value> {
        let lines = self.coupons.iter().flat_map(|coupon| coupon.articles.iter().map(move |at| (coupon, *at)));
        let event = |(coupon, at): (&Coupon, usize)| {
            json!({
                "coupon_upc": coupon.upc,
                "product_id": articles[at].product_id,
                "campaign_id": self.campaign_id,
            })
        };
        lines.map(event).collect()
    }

    /// The coupon of this campaign that is good for an article.
    pub fn coupon_for(&self, article: usize) -> Option<&Coupon> {
        self.coupons.iter().find(|coupon| coupon.articles.contains(&article))
    }
}

/// The promotions of one week.
#[derive(Clone, Debug, Default)]
pub struct Promotions {
    /// The trading week.
    pub week: i32,
    /// Store and index of the article.
    promoted: HashSet<(i32, usize)>,
}

impl Promotions {
    /// Plans a week and returns it with its events of `merchandising.promotions`.
    pub fn plan(rng: &mut Rng, week: i32, articles: &[Article]) -> (Promotions, Vec<Value>) {
        let mut promoted = HashSet::new();
        let mut events = Vec::new();
        for _ in 0..60 {
            let at = rng.below(articles.len());
            let mailer = ["0", "A", "C", "D", "F", "H", "J", "L", "P", "X", "Z"];
            let mailer = mailer[rng.weighted(&[30, 40, 5, 12, 4, 4, 2, 2, 1, 1, 1])];
            for store in 0..households::STORES {
                let display = ["0", "1", "2", "3", "4", "5", "6", "7", "9", "A"];
                let display = display[rng.weighted(&[60, 4, 4, 6, 3, 6, 4, 6, 6, 3])];
                let store_id = 8_100 + store as i32;
                if (display != "0" || mailer != "0") && promoted.insert((store_id, at)) {
                    events.push(json!({
                        "product_id": articles[at].product_id,
                        "store_id": store_id,
                        "display_location": display,
                        "mailer_location": mailer,
                        "week": week,
                    }));
                }
            }
        }
        (Promotions { week, promoted }, events)
    }

    /// Whether a store promotes an article.
    pub fn covers(&self, store_id: i32, article: usize) -> bool {
        self.promoted.contains(&(store_id, article))
    }
}
