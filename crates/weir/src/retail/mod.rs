//! A made-up retailer that emits the events of `contracts/` without end, so that the mesh can be seen at work on a machine
//! without the real tables.
//!
//! Pure and seeded: equal seeds and clocks give equal streams. It knows no Kafka, encodes no Avro and checks no contract; it
//! hands out JSON in the plain form (untagged unions, RFC 3339 times) that `weir produce` takes as well. A settable share of
//! the events is broken on purpose, see [`Fault`].

use std::collections::VecDeque;
use std::fmt;

use serde_json::Value;

mod baskets;
mod calendar;
mod campaigns;
mod catalogue;
mod faults;
mod households;
mod rng;
#[cfg(test)]
mod tests;

pub use faults::{Fault, Shares};

use baskets::{Store, Visit};
use calendar::Calendar;
use campaigns::{Campaign, Promotions};
use catalogue::Article;
use households::Household;
use rng::Rng;

/// A data product of the retail mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Receipt lines.
    Transactions,
    /// The product range.
    Products,
    /// Weekly promotions.
    Promotions,
    /// Household demographics.
    Households,
    /// The campaigns.
    CampaignDescriptions,
    /// Which household a campaign reached.
    Campaigns,
    /// Which product a coupon is good for.
    Coupons,
    /// Coupons handed in.
    CouponRedemptions,
}

impl Product {
    /// Every product of the mesh.
    pub const ALL: [Product; 8] = [
        Product::Transactions,
        Product::Products,
        Product::Promotions,
        Product::Households,
        Product::CampaignDescriptions,
        Product::Campaigns,
        Product::Coupons,
        Product::CouponRedemptions,
    ];

    /// The id of its contract, which is also the name of its topic.
    pub fn id(self) -> &'static str {
        match self {
            Product::Transactions => "sales.transactions",
            Product::Products => "merchandising.products",
            Product::Promotions => "merchandising.promotions",
            Product::Households => "customer.households",
            Product::CampaignDescriptions => "marketing.campaign_descriptions",
            Product::Campaigns => "marketing.campaigns",
            Product::Coupons => "marketing.coupons",
            Product::CouponRedemptions => "marketing.coupon_redemptions",
        }
    }

    /// The field whose text is the key of the record.
    pub fn key_field(self) -> &'static str {
        match self {
            Product::Products | Product::Promotions => "product_id",
            Product::Transactions | Product::Households | Product::Campaigns | Product::CouponRedemptions => {
                "household_id"
            }
            Product::CampaignDescriptions => "campaign_id",
            Product::Coupons => "coupon_upc",
        }
    }

    /// The latest record of a key counts, and a null value deletes it.
    pub fn is_table(self) -> bool {
        matches!(self, Product::Products | Product::Households | Product::CampaignDescriptions)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One generated event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where it belongs.
    pub product: Product,
    /// The key of the record as text; none only under [`Fault::KeyMissing`].
    pub key: Option<String>,
    /// The value in the plain JSON form of the product's Avro schema; none for a tombstone.
    pub value: Option<Value>,
    /// When it happened, in milliseconds since the epoch.
    pub time_ms: i64,
    /// How it was broken on purpose. A fault of the bytes is still to be put in with [`Fault::on_bytes`].
    pub fault: Option<Fault>,
}

/// The endless stream of the retailer.
///
/// It begins with a clean snapshot of the tables (products, households, campaigns); then households shop, coupons and
/// promotions are announced, and the tables change now and then.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    shares: Shares,
    calendar: Calendar,
    now_ms: i64,
    live: bool,
    articles: Vec<Article>,
    /// Indices of the listed articles, the popular ones first.
    popular: Vec<usize>,
    delisted: Vec<usize>,
    households: Vec<Household>,
    campaigns: Vec<Campaign>,
    promotions: Promotions,
    next_campaign: i32,
    next_basket: i64,
    /// Events of the snapshot that are still in `ready`; these are never broken.
    snapshot: usize,
    /// To be handed out next, in this order.
    ready: VecDeque<(Product, Body)>,
    /// To be strewn between the baskets, in this order.
    background: VecDeque<(Product, Value)>,
}

/// What an event says: a value, or that a key is gone.
#[derive(Clone, Debug)]
enum Body {
    Value(Value),
    Tombstone(i32),
}

/// Mean time between two baskets when the stores are averagely busy, in milliseconds.
const BASKET_GAP_MS: f64 = 2_000.0;
/// Share of the steps that announce something instead of filling a basket, while there is something to announce.
const ANNOUNCE: f64 = 0.6;
/// Share of the steps that change a table.
const CHANGE: f64 = 0.02;

impl Generator {
    /// Starts the retailer of `seed` at `now_ms` (milliseconds since the epoch), with nothing broken.
    ///
    /// Its clock moves by itself from basket to basket, slower at night, until [`Generator::set_now`] takes it over.
    pub fn new(seed: u64, now_ms: i64) -> Generator {
        let mut rng = Rng::new(seed);
        let calendar = Calendar::new();
        let articles = catalogue::range(&mut rng);
        let households = households::all(&mut rng, articles.len());
        let mut popular: Vec<usize> = (0..articles.len()).collect();
        for last in (1..popular.len()).rev() {
            popular.swap(last, rng.below(last + 1));
        }
        let mut generator = Generator {
            rng,
            shares: Shares::none(),
            calendar,
            now_ms,
            live: false,
            articles,
            popular,
            delisted: Vec::new(),
            households,
            campaigns: Vec::new(),
            promotions: Promotions::default(),
            next_campaign: 501,
            next_basket: 77_000_000_001,
            snapshot: 0,
            ready: VecDeque::new(),
            background: VecDeque::new(),
        };
        generator.take_snapshot();
        generator
    }

    /// Breaks events in these shares from the end of the snapshot on.
    pub fn with_shares(mut self, shares: Shares) -> Generator {
        self.shares = shares;
        self
    }

    /// Sets the clock and keeps it there until the next call; for a stream at the pace of a real clock. It never goes back.
    pub fn set_now(&mut self, now_ms: i64) {
        self.live = true;
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Events of the snapshot that are still to come.
    pub fn snapshot_left(&self) -> usize {
        self.snapshot
    }

    fn take_snapshot(&mut self) {
        for article in &self.articles {
            self.ready.push_back((Product::Products, Body::Value(article.event())));
        }
        for household in self.households.iter().filter(|household| household.told) {
            self.ready.push_back((Product::Households, Body::Value(household.event())));
        }
        for in_days in [-40, -25, -15, -5, 7] {
            self.launch_campaign(in_days);
        }
        self.snapshot = self.ready.len();
    }

    fn launch_campaign(&mut self, in_days: i64) {
        let today = self.calendar.moment(self.now_ms).date;
        let campaign = Campaign::plan(&mut self.rng, self.next_campaign, today, in_days, &self.articles);
        self.next_campaign += 1;
        self.ready.push_back((Product::CampaignDescriptions, Body::Value(campaign.event())));
        let coupons = campaign.coupon_events(&self.articles);
        let reach = campaign.reach_events(&self.households);
        self.background.extend(coupons.into_iter().map(|event| (Product::Coupons, event)));
        self.background.extend(reach.into_iter().map(|event| (Product::Campaigns, event)));
        self.campaigns.push(campaign);
    }

    /// Lets something happen; afterwards there may be something ready.
    fn step(&mut self) {
        let moment = self.calendar.moment(self.now_ms);
        if self.promotions.week != moment.week() {
            let (promotions, events) = Promotions::plan(&mut self.rng, moment.week(), &self.articles);
            self.promotions = promotions;
            self.background.extend(events.into_iter().map(|event| (Product::Promotions, event)));
        }
        if let Some(over) = self.campaigns.iter().position(|campaign| campaign.over(moment.date)) {
            self.campaigns.swap_remove(over);
            self.launch_campaign(3);
        } else if self.rng.chance(CHANGE) {
            self.change_table();
        } else if !self.background.is_empty() && self.rng.chance(ANNOUNCE) {
            let event = self.background.pop_front();
            self.ready.extend(event.map(|(product, value)| (product, Body::Value(value))));
        } else {
            self.fill_basket();
        }
    }

    fn fill_basket(&mut self) {
        if !self.live {
            let busy = self.calendar.moment(self.now_ms).busy();
            self.now_ms = self.now_ms.saturating_add(self.rng.wait(BASKET_GAP_MS / busy) as i64);
        }
        let paid_at = self.calendar.text(self.now_ms);
        let store = Store {
            articles: &self.articles,
            popular: &self.popular,
            campaigns: &self.campaigns,
            promotions: &self.promotions,
            moment: self.calendar.moment(self.now_ms),
            paid_at: &paid_at,
        };
        let at = self.rng.below(self.households.len());
        let visit = Visit { basket_id: self.next_basket, at, household: &self.households[at] };
        let basket = store.serve(&mut self.rng, &visit);
        self.next_basket += 1;
        self.ready.extend(basket.lines.into_iter().map(|line| (Product::Transactions, Body::Value(line))));
        let redeemed = basket.redemptions.into_iter();
        self.ready.extend(redeemed.map(|event| (Product::CouponRedemptions, Body::Value(event))));
    }

    fn change_table(&mut self) {
        match self.rng.weighted(&[10, 60, 30]) {
            0 => self.change_campaign(),
            1 => self.change_household(),
            _ => self.change_product(),
        }
    }

    fn change_campaign(&mut self) {
        let at = self.rng.below(self.campaigns.len());
        if let Some(campaign) = self.campaigns.get_mut(at) {
            campaign.replan(&mut self.rng);
            self.ready.push_back((Product::CampaignDescriptions, Body::Value(campaign.event())));
        }
    }

    /// A household changes or fills in the form; one in twenty of those that have told asks to be forgotten.
    fn change_household(&mut self) {
        let at = self.rng.below(self.households.len());
        let household = &mut self.households[at];
        let forget = household.told && self.rng.chance(0.05);
        household.told = !forget;
        household.change(&mut self.rng);
        let body = if forget { Body::Tombstone(household.household_id) } else { Body::Value(household.event()) };
        self.ready.push_back((Product::Households, body));
    }

    /// A product gets another maker, is delisted, or comes back; never more than one in twenty is delisted.
    fn change_product(&mut self) {
        if self.rng.chance(0.1) && self.delisted.len() * 20 < self.articles.len() {
            let article = self.popular.remove(self.rng.below(self.popular.len()));
            self.delisted.push(article);
            self.ready.push_back((Product::Products, Body::Tombstone(self.articles[article].product_id)));
            return;
        }
        let relisted = if self.rng.chance(0.1) { self.delisted.pop() } else { None };
        let article = match relisted {
            Some(article) => {
                self.popular.push(article);
                article
            }
            None => self.popular[self.rng.below(self.popular.len())],
        };
        let changed = &mut self.articles[article];
        if !changed.private {
            changed.manufacturer_id = 9_002 + self.rng.between(0, 96) as i32;
        }
        self.ready.push_back((Product::Products, Body::Value(changed.event())));
    }

    fn finish(&mut self, product: Product, body: Body) -> Event {
        let clean = self.snapshot > 0;
        self.snapshot = self.snapshot.saturating_sub(1);
        let time_ms = self.now_ms;
        let mut value = match body {
            Body::Tombstone(key) => {
                return Event { product, key: Some(key.to_string()), value: None, time_ms, fault: None };
            }
            Body::Value(value) => value,
        };
        let fault = if clean { None } else { self.shares.draw(product, &mut self.rng) };
        if let Some(fault) = fault {
            fault.on_value(product, &mut value, &self.calendar, time_ms);
        }
        let key = match fault {
            Some(Fault::KeyMissing) => None,
            Some(Fault::KeyMismatch) => Some("0".to_owned()),
            _ => Some(match &value[product.key_field()] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }),
        };
        Event { product, key, value: Some(value), time_ms, fault }
    }
}

impl Iterator for Generator {
    type Item = Event;

    /// The next event; there always is one.
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((product, body)) = self.ready.pop_front() {
                return Some(self.finish(product, body));
            }
            self.step();
        }
    }
}
