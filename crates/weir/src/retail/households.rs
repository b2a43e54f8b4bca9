//! Made-up households: what they have told about themselves, where they shop and what they like.
//!
//! Only what is told goes to `customer.households`; the habits stay inside the generator.

use serde_json::{Value, json};

use super::rng::Rng;

const AGES: [&str; 6] = ["19-24", "25-34", "35-44", "45-54", "55-64", "65+"];
const INCOMES: [&str; 12] = [
    "Under 15K",
    "15-24K",
    "25-34K",
    "35-49K",
    "50-74K",
    "75-99K",
    "100-124K",
    "125-149K",
    "150-174K",
    "175-199K",
    "200-249K",
    "250K+",
];
const HOMES: [&str; 4] = ["Homeowner", "Probable Homeowner", "Renter", "Probable Renter"];

/// How many households shop.
pub const COUNT: usize = 2_000;
/// How many stores they shop in.
pub const STORES: i64 = 40;

/// One household.
#[derive(Clone, Debug)]
pub struct Household {
    /// Names the household everywhere.
    pub household_id: i32,
    /// The store it mostly goes to.
    pub store_id: i32,
    /// It has filled in the form, so that `customer.households` knows it.
    pub told: bool,
    /// Indices of the articles it buys again and again.
    pub favourites: Vec<usize>,
    /// How likely it is to hand in a coupon that fits.
    pub thrift: f64,
    adults: u8,
    kids: u8,
    age: u8,
    income: u8,
    home: Option<u8>,
    married: Option<bool>,
}

impl Household {
    /// Persons who eat from its baskets.
    pub fn persons(&self) -> u8 {
        self.adults + self.kids
    }

    /// The event of `customer.households`.
    pub fn event(&self) -> Value {
        let size = match self.persons() {
            1 => "1",
            2 => "2",
            3 => "3",
            4 => "4",
            _ => "5+",
        };
        let composition = match (self.adults, self.kids) {
            (1, 0) => "1 Adult No Kids",
            (1, _) => "1 Adult Kids",
            (_, 0) => "2 Adults No Kids",
            _ => "2 Adults Kids",
        };
        let kids = match self.kids {
            0 => "0",
            1 => "1",
            2 => "2",
            _ => "3+",
        };
        json!({
            "household_id": self.household_id,
            "age": AGES[usize::from(self.age) % AGES.len()],
            "income": INCOMES[usize::from(self.income) % INCOMES.len()],
            "home_ownership": self.home.map(|home| HOMES[usize::from(home) % HOMES.len()]),
            "marital_status": self.married.map(|married| if married { "Married" } else { "Unmarried" }),
            "household_size": size,
            "household_comp": composition,
            "kids_count": kids,
        })
    }

    /// Life goes on: a child, a move, a better income.
    pub fn change(&mut self, rng: &mut Rng) {
        match rng.below(4) {
            0 => self.kids = (self.kids + 1).min(4),
            1 => self.income = (self.income + 1).min(INCOMES.len() as u8 - 1),
            2 => self.home = Some(rng.below(HOMES.len()) as u8),
            _ => self.age = (self.age + 1).min(AGES.len() as u8 - 1),
        }
    }
}

/// All households of a range of `articles` articles, in the order of `household_id`.
pub fn all(rng: &mut Rng, articles: usize) -> Vec<Household> {
    (0..COUNT)
        .map(|i| {
            let adults = 1 + u8::from(rng.chance(0.6));
            let kids = rng.weighted(&[55, 20, 15, 7, 3]) as u8;
            Household {
                household_id: 70_001 + i as i32,
                store_id: 8_100 + rng.between(0, STORES - 1) as i32,
                told: rng.chance(0.4),
                favourites: (0..12).map(|_| rng.below(articles)).collect(),
                thrift: rng.unit() * 0.5,
                adults,
                kids,
                age: rng.weighted(&[6, 18, 24, 26, 14, 12]) as u8,
                income: rng.weighted(&[6, 8, 9, 18, 22, 13, 8, 6, 4, 2, 2, 2]) as u8,
                home: rng.chance(0.7).then(|| rng.weighted(&[75, 5, 15, 5]) as u8),
                married: rng.chance(0.8).then(|| adults == 2 && rng.chance(0.8)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_agree_with_each_other_after_any_change() {
        let mut rng = Rng::new(5);
        for mut household in all(&mut rng, 100) {
            for _ in 0..5 {
                let event = household.event();
                let text = |field: &str| event[field].as_str().unwrap().to_owned();
                assert_eq!(text("household_comp").ends_with("No Kids"), text("kids_count") == "0", "{event}");
                assert_eq!(text("household_comp") == "1 Adult No Kids", text("household_size") == "1", "{event}");
                household.change(&mut rng);
            }
        }
    }
}
