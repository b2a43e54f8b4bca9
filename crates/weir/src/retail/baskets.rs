//! What a household buys on one visit: the receipt lines and the coupons handed in.

use serde_json::{Value, json};

use super::calendar::Moment;
use super::campaigns::{Campaign, Promotions};
use super::catalogue::{Article, Daypart};
use super::households::{Household, STORES};
use super::rng::Rng;

/// What the tills know when a household comes in.
pub struct Store<'a> {
    /// The range.
    pub articles: &'a [Article],
    /// Indices of the articles that are listed, the popular ones first.
    pub popular: &'a [usize],
    /// All campaigns.
    pub campaigns: &'a [Campaign],
    /// This week's promotions.
    pub promotions: &'a Promotions,
    /// Day and hour in the stores.
    pub moment: Moment,
    /// The time of payment as RFC 3339 text.
    pub paid_at: &'a str,
}

/// Who comes in, and where.
pub struct Visit<'a> {
    /// Number of the receipt.
    pub basket_id: i64,
    /// Index of the household.
    pub at: usize,
    /// The household.
    pub household: &'a Household,
}

/// What a visit leaves behind.
#[derive(Debug, Default)]
pub struct Basket {
    /// Events of `sales.transactions`.
    pub lines: Vec<Value>,
    /// Events of `marketing.coupon_redemptions`.
    pub redemptions: Vec<Value>,
}

impl Store<'_> {
    /// Fills and pays one basket.
    pub fn serve(&self, rng: &mut Rng, visit: &Visit<'_>) -> Basket {
        let elsewhere = rng.chance(0.12);
        let store_id = if elsewhere { 8_100 + rng.between(0, STORES - 1) as i32 } else { visit.household.store_id };
        let mut basket = Basket::default();
        for article in self.choose(rng, visit.household) {
            self.sell(rng, visit, store_id, article, &mut basket);
        }
        basket
    }

    /// Indices of different articles, in the order in which they cross the till.
    fn choose(&self, rng: &mut Rng, household: &Household) -> Vec<usize> {
        let wanted = 1 + rng.wait(3.0 + 2.0 * f64::from(household.persons())).min(60.0) as usize;
        let mut chosen: Vec<usize> = Vec::new();
        // A small range runs out of articles: the number of tries is bounded, the basket may stay smaller.
        for _ in 0..wanted * 4 {
            if chosen.len() == wanted || self.popular.is_empty() {
                break;
            }
            let favourite = household.favourites.get(rng.below(household.favourites.len())).copied();
            let article = match favourite {
                Some(article) if rng.chance(0.45) && self.popular.contains(&article) => article,
                _ => self.popular[rng.skewed(self.popular.len())],
            };
            let out_of_time = match self.articles[article].daypart {
                Daypart::Any => false,
                Daypart::Morning => self.moment.hour >= 12,
                Daypart::Evening => self.moment.hour < 17,
            };
            let skipped = out_of_time && rng.chance(0.5);
            if !skipped && !chosen.contains(&article) {
                chosen.push(article);
            }
        }
        chosen
    }

    /// Rings up one article: discounts first, then at most one coupon, each coupon once per basket.
    fn sell(&self, rng: &mut Rng, visit: &Visit<'_>, store_id: i32, index: usize, basket: &mut Basket) {
        let article = &self.articles[index];
        let quantity =
            if article.fuel { rng.between(4_000, 19_000) } else { [1, 1, 1, 1, 1, 2, 2, 3, 4, 6][rng.below(10)] };
        let shelf = if article.fuel { article.cents * quantity / 1000 } else { article.cents * quantity };
        let percent = if self.promotions.covers(store_id, index) {
            rng.between(10, 40)
        } else if rng.chance(0.4) {
            rng.between(3, 20)
        } else {
            0
        };
        let retail_disc = shelf * percent / 100;
        let left = shelf - retail_disc;
        let coupon = self
            .campaigns
            .iter()
            .filter(|campaign| campaign.reach.contains(&visit.at) && campaign.runs(self.moment.date))
            .find_map(|campaign| campaign.coupon_for(index).map(|coupon| (campaign, coupon)))
            .filter(|(_, coupon)| basket.redemptions.iter().all(|used| used["coupon_upc"] != coupon.upc))
            .filter(|_| rng.chance(visit.household.thrift));
        let coupon_disc = coupon.map_or(0, |(_, coupon)| coupon.cents.min(left));
        let matched = if coupon_disc > 0 && rng.chance(0.3) { coupon_disc.min(40).min(left - coupon_disc) } else { 0 };
        basket.lines.push(json!({
            "household_id": visit.household.household_id,
            "store_id": store_id,
            "basket_id": visit.basket_id,
            "product_id": article.product_id,
            "quantity": quantity,
            "sales_value": dollars(left - matched),
            "retail_disc": dollars(retail_disc),
            "coupon_disc": dollars(coupon_disc),
            "coupon_match_disc": dollars(matched),
            "week": self.moment.week(),
            "transaction_timestamp": self.paid_at,
        }));
        if let Some((campaign, coupon)) = coupon {
            basket.redemptions.push(json!({
                "household_id": visit.household.household_id,
                "coupon_upc": coupon.upc,
                "campaign_id": campaign.campaign_id,
                "redemption_date": self.moment.date.to_string(),
            }));
        }
    }
}

fn dollars(cents: i64) -> f64 {
    cents as f64 / 100.0
}
