//! Writes the files of `crates/payments/demo`: a mapping, opening balances, a pain.001.001.09 of some 3,000 payments
//! and a CSV file of rents. All names and banks are made up; the same seed always gives the same files.
//!
//! `cargo run -p payments --example generate_demo -- [SEED] [FOLDER]`

use payments::{format_minor, make_iban};
use std::fmt::Write as _;
use std::path::PathBuf;

const DEFAULT_SEED: u64 = 20_261_122;
const PEOPLE: u64 = 400;
const FIRST_COMPANY: u64 = 9_000;

const GIVEN: &[&str] = &[
    "Aigerim", "Nurlan", "Dana", "Timur", "Saule", "Arman", "Madina", "Daniyar", "Aliya", "Ruslan", "Zhanna",
    "Yerlan", "Kamila", "Askar", "Dinara", "Marat", "Assel", "Bolat", "Gulnara", "Sanzhar",
];
const FAMILY: &[&str] = &[
    "Sadykov",
    "Akhmetov",
    "Omarov",
    "Iskakov",
    "Kassymov",
    "Nurpeisov",
    "Zhumabek",
    "Tulegen",
    "Serik",
    "Baizhan",
    "Abenov",
    "Kenzhe",
    "Mukanov",
    "Ospan",
    "Rakhim",
    "Suleimen",
    "Temir",
    "Utegen",
    "Yessen",
    "Zhaksy",
];
const COMPANIES: &[&str] = &[
    "Steppe Foods",
    "Altai Mining",
    "Caspian Services",
    "Silk Road Textiles",
    "Nomad Logistics",
    "Saryarka Energy",
    "Tulpar Card Settlement",
    "Bright Star Trading",
    "Northern Lights Media",
    "Golden Eagle Parts",
];
const SUPPLIERS: &[&str] = &[
    "Rhein Maschinenbau",
    "Müller & Söhne",
    "Atelier Lefèvre",
    "Officina Bianchi",
    "Tekstil Łódź",
    "Port Services BV",
    "Sakura Instruments",
    "Gulf Drilling Co",
    "Harbor Supplies",
    "Blue Ridge Parts",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}

fn own(number: u64) -> String {
    make_iban("KZ", &format!("998{number:013}"))
}

/// An account at another bank and that bank's BIC; bank codes are made up.
fn elsewhere(random: &mut Random, currency: &str) -> (String, &'static str) {
    let number = random.below(10_000_000_000);
    match (currency, random.below(3)) {
        ("EUR", 0) => (make_iban("DE", &format!("99900099{number:010}")), "MUSTDEFF"),
        ("EUR", 1) => (
            make_iban("FR", &format!("9990100001{:011}76", number % 10_000)),
            "FICTFRPP",
        ),
        ("EUR", _) => (make_iban("NL", &format!("FICT{number:010}")), "FICTNL2A"),
        ("KWD", _) => (make_iban("KW", &format!("FICT{number:022}")), "FICTKWKW"),
        ("JPY", _) => (
            make_iban("GB", &format!("FICT999999{:08}", number % 100_000_000)),
            "FICTJPJT",
        ),
        _ => (
            make_iban("GB", &format!("FICT999999{:08}", number % 100_000_000)),
            "FICTUS33",
        ),
    }
}

fn person(number: u64) -> String {
    let (given, family) = (
        number % GIVEN.len() as u64,
        number / GIVEN.len() as u64 % FAMILY.len() as u64,
    );
    format!("{} {}", GIVEN[given as usize], FAMILY[family as usize])
}

fn scale(currency: &str) -> u8 {
    match currency {
        "JPY" => 0,
        "KWD" => 3,
        _ => 2,
    }
}

struct Pay {
    id: String,
    amount: String,
    currency: &'static str,
    creditor: String,
    account: String,
    bic: Option<&'static str>,
    text: String,
}

struct Batch {
    id: String,
    debtor: String,
    account: String,
    purpose: &'static str,
    payments: Vec<Pay>,
    /// Wrong on purpose.
    claimed_sum: Option<&'static str>,
}

fn batch(id: &str, company: u64, purpose: &'static str, payments: Vec<Pay>) -> Batch {
    let debtor = COMPANIES[company as usize].to_owned();
    Batch {
        id: id.to_owned(),
        debtor,
        account: own(FIRST_COMPANY + company),
        purpose,
        payments,
        claimed_sum: None,
    }
}

fn salaries(random: &mut Random, prefix: &str, currency: &'static str, count: u64) -> Vec<Pay> {
    (0..count)
        .map(|n| {
            let number = n % PEOPLE;
            Pay {
                id: format!("{prefix}-{n:05}"),
                amount: format_minor(u128::from(random.between(90_000, 480_000)), scale(currency)),
                currency,
                creditor: person(number),
                account: own(number),
                bic: (n % 3 == 0).then_some("TULPKZKA"),
                text: "Salary November 2026".to_owned(),
            }
        })
        .collect()
}

fn suppliers(random: &mut Random, prefix: &str, currency: &'static str, count: u64, most: u64) -> Vec<Pay> {
    (0..count)
        .map(|n| {
            let (account, bic) = elsewhere(random, currency);
            let invoice = random.between(10_000, 99_999);
            Pay {
                id: format!("{prefix}-{n:05}"),
                amount: format_minor(u128::from(random.between(1_000, most)), scale(currency)),
                currency,
                creditor: SUPPLIERS[random.below(SUPPLIERS.len() as u64) as usize].to_owned(),
                account,
                bic: Some(bic),
                text: format!("Invoice {invoice} & delivery note"),
            }
        })
        .collect()
}

fn cards(random: &mut Random, count: u64) -> Vec<Pay> {
    (0..count)
        .map(|n| {
            let merchant = random.below(6);
            Pay {
                id: format!("CARD-{n:05}"),
                amount: format_minor(u128::from(random.between(150, 35_000)), 2),
                currency: "EUR",
                creditor: COMPANIES[merchant as usize].to_owned(),
                account: own(FIRST_COMPANY + merchant),
                bic: None,
                text: format!("Card settlement terminal {:04}", random.below(400)),
            }
        })
        .collect()
}

/// Payments that must be refused, each for its own reason, among some that are fine.
fn mistakes(random: &mut Random) -> Vec<Pay> {
    let mut payments = suppliers(random, "MIX", "EUR", 16, 90_000);
    payments[1].account = "DE00999000990000000001".to_owned();
    payments[3].account.pop();
    payments[4].currency = "GEL";
    payments[6].amount = "12.345".to_owned();
    payments[7].amount = "0.00".to_owned();
    payments[9].id = payments[8].id.clone();
    payments[10].bic = Some("NOBIC");
    payments[12].amount = "1 000.00".to_owned();
    payments[12].amount.retain(|c| c != ' ');
    payments[13].currency = "JPY";
    payments[13].amount = "1000.50".to_owned();
    payments[14].currency = "KWD";
    payments[14].amount = "1.2345".to_owned();
    payments
}

fn batches(random: &mut Random) -> Vec<Batch> {
    let mut all = vec![
        batch("SAL-EUR", 0, "SALA", salaries(random, "SE", "EUR", 900)),
        batch("SAL-USD", 1, "SALA", salaries(random, "SU", "USD", 500)),
        batch(
            "SUP-EUR",
            2,
            "SUPP",
            suppliers(random, "PE", "EUR", 450, 2_500_000),
        ),
        batch(
            "SUP-JPY",
            3,
            "SUPP",
            suppliers(random, "PJ", "JPY", 200, 3_000_000),
        ),
        batch(
            "SUP-KWD",
            5,
            "SUPP",
            suppliers(random, "PK", "KWD", 150, 9_000_000),
        ),
        batch("CARDS", 6, "CCRD", cards(random, 700)),
        batch("NO-FUNDS", 7, "SUPP", suppliers(random, "NF", "USD", 60, 400_000)),
        batch("MISTAKES", 4, "SUPP", mistakes(random)),
        batch(
            "BROKEN-SUM",
            8,
            "SUPP",
            suppliers(random, "BS", "EUR", 12, 50_000),
        ),
    ];
    all[8].claimed_sum = Some("1.00");
    all
}

fn sum(payments: &[Pay]) -> String {
    let add = |sum: payments::Decimal, pay: &Pay| {
        let amount = payments::Decimal::parse(&pay.amount).expect("amounts are decimals");
        sum.checked_add(amount).expect("the sum fits")
    };
    payments.iter().fold(payments::Decimal::default(), add).to_text()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn pain001(batches: &[Batch]) -> String {
    let count: usize = batches.iter().map(|batch| batch.payments.len()).sum();
    let total = batches.iter().fold(payments::Decimal::default(), |total, batch| {
        let sum = payments::Decimal::parse(&sum(&batch.payments)).expect("a decimal");
        total.checked_add(sum).expect("the sum fits")
    });
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\">\n<CstmrCdtTrfInitn>\n\
         <GrpHdr><MsgId>DEMO-2026-11-22</MsgId><CreDtTm>2026-11-22T08:00:00</CreDtTm><NbOfTxs>{count}</NbOfTxs>\
         <CtrlSum>{}</CtrlSum><InitgPty><Nm>Payroll Bureau</Nm></InitgPty></GrpHdr>\n",
        total.to_text()
    );
    for batch in batches {
        let claimed = batch
            .claimed_sum
            .map_or_else(|| sum(&batch.payments), str::to_owned);
        let _ = write!(
            xml,
            "<PmtInf>\n<PmtInfId>{}</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>{}</NbOfTxs><CtrlSum>{claimed}</CtrlSum>\
             <PmtTpInf><CtgyPurp><Cd>{}</Cd></CtgyPurp></PmtTpInf><ReqdExctnDt><Dt>2026-11-25</Dt></ReqdExctnDt>\n\
             <Dbtr><Nm>{}</Nm></Dbtr><DbtrAcct><Id><IBAN>{}</IBAN></Id></DbtrAcct>\
             <DbtrAgt><FinInstnId><BICFI>TULPKZKA</BICFI></FinInstnId></DbtrAgt>\n",
            batch.id,
            batch.payments.len(),
            batch.purpose,
            escaped(&batch.debtor),
            batch.account
        );
        for pay in &batch.payments {
            let agent = pay.bic.map_or(String::new(), |bic| {
                format!("<CdtrAgt><FinInstnId><BICFI>{bic}</BICFI></FinInstnId></CdtrAgt>")
            });
            let _ = writeln!(
                xml,
                "<CdtTrfTxInf><PmtId><EndToEndId>{}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"{}\">{}</InstdAmt></Amt>\
                 {agent}<Cdtr><Nm>{}</Nm></Cdtr><CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct>\
                 <RmtInf><Ustrd>{}</Ustrd></RmtInf></CdtTrfTxInf>",
                pay.id,
                pay.currency,
                pay.amount,
                escaped(&pay.creditor),
                pay.account,
                escaped(&pay.text)
            );
        }
        xml.push_str("</PmtInf>\n");
    }
    xml.push_str("</CstmrCdtTrfInitn>\n</Document>\n");
    xml
}

fn opening(random: &mut Random) -> String {
    let mut csv = String::from("account,currency,amount\n");
    for (company, balances) in [
        (0, &[("EUR", "5000000.00")][..]),
        (1, &[("USD", "3000000.00")]),
        (2, &[("EUR", "9000000.00")]),
        (3, &[("JPY", "900000000")]),
        (4, &[("EUR", "100000.00"), ("JPY", "5000000"), ("KWD", "900.500")]),
        (5, &[("KWD", "2500000.000")]),
        (6, &[("EUR", "400000.00")]),
        (7, &[("USD", "25000.00")]),
        (8, &[("EUR", "100000.00")]),
        (9, &[("EUR", "1000.00"), ("USD", "1000.00")]),
    ] {
        for (currency, amount) in balances {
            let _ = writeln!(csv, "{},{currency},{amount}", own(FIRST_COMPANY + company));
        }
    }
    for number in 0..PEOPLE {
        let cents = u128::from(random.between(1_000, 900_000));
        let _ = writeln!(csv, "{},EUR,{}", own(number), format_minor(cents, 2));
    }
    for (clearing, currency, amount) in [
        ("TARGET-EUR", "EUR", "-12000000.00"),
        ("NEW-YORK", "USD", "-8000000.00"),
        ("TOKYO", "JPY", "-900000000"),
    ] {
        let _ = writeln!(csv, "clearing:{clearing},{currency},{amount}");
    }
    csv
}

fn rents(random: &mut Random) -> String {
    let mut csv = String::from(
        "payment_id;debtor_account;debtor_name;creditor_account;creditor_name;amount;currency;execution_date;remittance\n",
    );
    for number in 0..60u64 {
        let _ = writeln!(
            csv,
            "RENT-2026-11-{number:03};{};{};{};{};{};EUR;2026-11-30;Rent for flat {}",
            own(number),
            person(number),
            own(FIRST_COMPANY + 9),
            COMPANIES[9],
            format_minor(u128::from(random.between(30_000, 120_000)), 2),
            random.between(1, 200)
        );
    }
    csv
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_SEED);
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo");
    let folder = arguments.next().map_or(default, PathBuf::from);
    let mut random = Random(seed);
    let batches = batches(&mut random);
    for (name, text) in [
        ("payments.xml", pain001(&batches)),
        ("opening.csv", opening(&mut random)),
        ("rents.csv", rents(&mut random)),
    ] {
        std::fs::write(folder.join(name), &text)?;
        println!("{name}: {} bytes, seed {seed}", text.len());
    }
    Ok(())
}
