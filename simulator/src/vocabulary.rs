//! The words of each purpose: no word of one is a word of another.

use crate::purpose::Purpose;

/// Words that names and messages are made of.
pub(crate) struct Vocabulary {
    /// Name of the system, for namespaces and hosts.
    pub(crate) system: &'static str,
    /// What services, routes and tables are called after.
    pub(crate) nouns: &'static [&'static str],
    /// Second halves of service names.
    pub(crate) roles: &'static [&'static str],
    /// Verbs of gRPC methods and messages, in two forms.
    pub(crate) verbs: &'static [(&'static str, &'static str)],
    /// Last parts of the names of exceptions.
    pub(crate) exceptions: &'static [&'static str],
    /// What exceptions say.
    pub(crate) complaints: &'static [&'static str],
    /// Hosts outside of the system.
    pub(crate) partners: &'static [&'static str],
    /// Parts of the keys of feature flags.
    pub(crate) flags: &'static [&'static str],
}

/// The words of a purpose.
pub(crate) fn of(purpose: Purpose) -> &'static Vocabulary {
    match purpose {
        Purpose::Calibration => &FREIGHT,
        Purpose::Evaluation => &CLINIC,
        Purpose::Demo => &MARKET,
    }
}

static FREIGHT: Vocabulary = Vocabulary {
    system: "freight",
    nouns: &[
        "parcel",
        "depot",
        "route",
        "carrier",
        "customs",
        "tariff",
        "manifest",
        "pallet",
        "driver",
        "fleet",
        "berth",
        "cargo",
        "dock",
        "label",
        "weight",
        "transit",
        "truck",
        "harbor",
        "waybill",
        "pickup",
        "crane",
        "load",
        "fuel",
        "toll",
        "yard",
        "seal",
        "container",
        "vessel",
        "consignment",
        "broker",
        "claim",
        "quota",
        "lane",
        "hazard",
        "rail",
        "cabotage",
        "lading",
        "stowage",
        "locker",
        "courier",
        "convoy",
        "gantry",
    ],
    roles: &["service", "engine", "registry", "planner"],
    verbs: &[
        ("Plan", "planned"),
        ("Track", "tracked"),
        ("Weigh", "weighed"),
        ("Assign", "assigned"),
        ("Clear", "cleared"),
        ("Dispatch", "dispatched"),
    ],
    exceptions: &["RoutingException", "CapacityException", "ManifestError", "UnitMismatchException"],
    complaints: &[
        "no leg connects the two ends",
        "gross mass below net mass",
        "seal number was used before",
        "window closes before it opens",
    ],
    partners: &["api.portauthority.example", "rates.haulage.example", "gateway.tollroad.example"],
    flags: &["greedy-packing", "night-slots", "bundled-legs", "direct-clearing"],
};

static CLINIC: Vocabulary = Vocabulary {
    system: "clinic",
    nouns: &[
        "patient",
        "ward",
        "dosage",
        "referral",
        "triage",
        "scan",
        "theatre",
        "nurse",
        "consent",
        "allergy",
        "shift",
        "invoice",
        "insurer",
        "pharmacy",
        "specimen",
        "bed",
        "diagnosis",
        "vaccine",
        "therapy",
        "discharge",
        "imaging",
        "roster",
        "chart",
        "episode",
        "lab",
        "surgery",
        "transplant",
        "donor",
        "symptom",
        "vital",
        "admission",
        "appointment",
        "anaesthesia",
        "rehab",
        "visitor",
        "ambulance",
        "catering",
        "sterile",
        "pathology",
        "implant",
        "telemetry-bed",
        "kinship",
    ],
    roles: &["svc", "core", "hub", "desk"],
    verbs: &[
        ("Admit", "admitted"),
        ("Review", "reviewed"),
        ("Prescribe", "prescribed"),
        ("Merge", "merged"),
        ("Book", "booked"),
        ("Sign", "signed"),
    ],
    exceptions: &["RecordConflict", "ContraindicationError", "CodingFault", "ConsentViolation"],
    complaints: &[
        "two charts claim one identifier",
        "unit of measure missing in result",
        "signature older than document",
        "code list has no such entry",
    ],
    partners: &["claims.insurance.example", "fhir.registry.example", "sms.notify.example"],
    flags: &["paperless-consent", "fast-triage", "merged-charts", "shadow-coding"],
};

static MARKET: Vocabulary = Vocabulary {
    system: "market",
    nouns: &[
        "cart",
        "checkout",
        "catalog",
        "payment",
        "shipping",
        "voucher",
        "wishlist",
        "review-board",
        "stock",
        "price",
        "refund",
        "seller",
        "buyer",
        "banner",
        "search",
        "recommendation",
        "currency",
        "tax",
        "loyalty",
        "gift",
        "basket",
        "returns",
        "newsletter",
        "bundle",
        "category",
        "storefront",
        "fraud",
        "session",
        "profile",
        "address",
        "delivery",
        "warehouse",
        "supplier",
        "auction",
        "bid",
        "coupon",
        "rating",
        "question",
        "size",
        "color",
        "outfit",
        "look",
    ],
    roles: &["app", "backend", "store", "manager"],
    verbs: &[
        ("Order", "ordered"),
        ("Reserve", "reserved"),
        ("Quote", "quoted"),
        ("Charge", "charged"),
        ("List", "listed"),
        ("Ship", "shipped"),
    ],
    exceptions: &["CardDeclined", "SkuUnknown", "RoundingError", "BasketLocked"],
    complaints: &[
        "sum of items differs from total",
        "article has no price today",
        "card token expired",
        "basket belongs to nobody",
    ],
    partners: &["acquirer.bank.example", "parcels.post.example", "mail.campaign.example"],
    flags: &["one-page-checkout", "dynamic-price", "new-ranking", "split-shipment"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn words(vocabulary: &Vocabulary) -> BTreeSet<&'static str> {
        let Vocabulary { system, nouns, roles, verbs, exceptions, complaints, partners, flags } = vocabulary;
        let lists = [*nouns, *roles, *exceptions, *complaints, *partners, *flags];
        let verbs = verbs.iter().flat_map(|(verb, done)| [*verb, *done]);
        lists.into_iter().flatten().copied().chain(verbs).chain([*system]).collect()
    }

    #[test]
    fn no_word_of_a_purpose_is_a_word_of_another() {
        let all = Purpose::ALL.map(|purpose| words(of(purpose)));
        for (first, second) in [(0, 1), (0, 2), (1, 2)] {
            let shared: Vec<_> = all[first].intersection(&all[second]).collect();
            assert!(shared.is_empty(), "{shared:?}");
        }
    }

    #[test]
    fn there_is_a_noun_for_each_service_of_the_largest_topology() {
        for purpose in Purpose::ALL {
            let nouns: BTreeSet<_> = of(purpose).nouns.iter().collect();
            assert!(nouns.len() >= 40 && nouns.len() == of(purpose).nouns.len(), "{purpose:?}");
        }
    }
}
