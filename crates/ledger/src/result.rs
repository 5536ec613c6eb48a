//! Result codes (pure). Part of the wire and disk format: numbered once, never renumbered; 0 is never used.

use std::fmt;

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "each variant is its name in the ledger's rules")]
        pub enum $name { $($variant = $code,)+ }

        impl $name {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on wire and disk.
            #[must_use]
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The code with that number, if there is one.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name in APIs, exactly as in the rules.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The code with that name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

codes! {
    /// What became of an account that was to be created.
    CreateAccountResult {
        Created = 1 "created",
        Exists = 2 "exists",
        LinkedEventFailed = 3 "linked_event_failed",
        LinkedEventChainOpen = 4 "linked_event_chain_open",
        ImportedEventExpected = 5 "imported_event_expected",
        ImportedEventNotExpected = 6 "imported_event_not_expected",
        TimestampMustBeZero = 7 "timestamp_must_be_zero",
        ImportedEventTimestampOutOfRange = 8 "imported_event_timestamp_out_of_range",
        ImportedEventTimestampMustNotAdvance = 9 "imported_event_timestamp_must_not_advance",
        ReservedFlag = 10 "reserved_flag",
        IdMustNotBeZero = 11 "id_must_not_be_zero",
        IdMustNotBeIntMax = 12 "id_must_not_be_int_max",
        ExistsWithDifferentFlags = 13 "exists_with_different_flags",
        ExistsWithDifferentUserData128 = 14 "exists_with_different_user_data_128",
        ExistsWithDifferentUserData64 = 15 "exists_with_different_user_data_64",
        ExistsWithDifferentUserData32 = 16 "exists_with_different_user_data_32",
        ExistsWithDifferentLedger = 17 "exists_with_different_ledger",
        ExistsWithDifferentCode = 18 "exists_with_different_code",
        ExistsWithDifferentMetadata = 19 "exists_with_different_metadata",
        FlagsAreMutuallyExclusive = 20 "flags_are_mutually_exclusive",
        DebitsPendingMustBeZero = 21 "debits_pending_must_be_zero",
        DebitsPostedMustBeZero = 22 "debits_posted_must_be_zero",
        CreditsPendingMustBeZero = 23 "credits_pending_must_be_zero",
        CreditsPostedMustBeZero = 24 "credits_posted_must_be_zero",
        LedgerMustNotBeZero = 25 "ledger_must_not_be_zero",
        CodeMustNotBeZero = 26 "code_must_not_be_zero",
        ImportedEventTimestampMustNotRegress = 27 "imported_event_timestamp_must_not_regress",
    }
}

codes! {
    /// What became of a transfer that was to be created.
    CreateTransferResult {
        Created = 1 "created",
        Exists = 2 "exists",
        LinkedEventFailed = 3 "linked_event_failed",
        LinkedEventChainOpen = 4 "linked_event_chain_open",
        ImportedEventExpected = 5 "imported_event_expected",
        ImportedEventNotExpected = 6 "imported_event_not_expected",
        TimestampMustBeZero = 7 "timestamp_must_be_zero",
        ImportedEventTimestampOutOfRange = 8 "imported_event_timestamp_out_of_range",
        ImportedEventTimestampMustNotAdvance = 9 "imported_event_timestamp_must_not_advance",
        ReservedFlag = 10 "reserved_flag",
        IdMustNotBeZero = 11 "id_must_not_be_zero",
        IdMustNotBeIntMax = 12 "id_must_not_be_int_max",
        ExistsWithDifferentFlags = 13 "exists_with_different_flags",
        ExistsWithDifferentPendingId = 14 "exists_with_different_pending_id",
        ExistsWithDifferentTimeout = 15 "exists_with_different_timeout",
        ExistsWithDifferentDebitAccountId = 16 "exists_with_different_debit_account_id",
        ExistsWithDifferentCreditAccountId = 17 "exists_with_different_credit_account_id",
        ExistsWithDifferentAmount = 18 "exists_with_different_amount",
        ExistsWithDifferentUserData128 = 19 "exists_with_different_user_data_128",
        ExistsWithDifferentUserData64 = 20 "exists_with_different_user_data_64",
        ExistsWithDifferentUserData32 = 21 "exists_with_different_user_data_32",
        ExistsWithDifferentLedger = 22 "exists_with_different_ledger",
        ExistsWithDifferentCode = 23 "exists_with_different_code",
        ExistsWithDifferentMetadata = 24 "exists_with_different_metadata",
        IdAlreadyFailed = 25 "id_already_failed",
        FlagsAreMutuallyExclusive = 26 "flags_are_mutually_exclusive",
        DebitAccountIdMustNotBeZero = 27 "debit_account_id_must_not_be_zero",
        DebitAccountIdMustNotBeIntMax = 28 "debit_account_id_must_not_be_int_max",
        CreditAccountIdMustNotBeZero = 29 "credit_account_id_must_not_be_zero",
        CreditAccountIdMustNotBeIntMax = 30 "credit_account_id_must_not_be_int_max",
        AccountsMustBeDifferent = 31 "accounts_must_be_different",
        PendingIdMustBeZero = 32 "pending_id_must_be_zero",
        PendingIdMustNotBeZero = 33 "pending_id_must_not_be_zero",
        PendingIdMustNotBeIntMax = 34 "pending_id_must_not_be_int_max",
        PendingIdMustBeDifferent = 35 "pending_id_must_be_different",
        TimeoutReservedForPendingTransfer = 36 "timeout_reserved_for_pending_transfer",
        ClosingTransferMustBePending = 37 "closing_transfer_must_be_pending",
        LedgerMustNotBeZero = 38 "ledger_must_not_be_zero",
        CodeMustNotBeZero = 39 "code_must_not_be_zero",
        DebitAccountNotFound = 40 "debit_account_not_found",
        CreditAccountNotFound = 41 "credit_account_not_found",
        AccountsMustHaveTheSameLedger = 42 "accounts_must_have_the_same_ledger",
        TransferMustHaveTheSameLedgerAsAccounts = 43 "transfer_must_have_the_same_ledger_as_accounts",
        PendingTransferNotFound = 44 "pending_transfer_not_found",
        PendingTransferNotPending = 45 "pending_transfer_not_pending",
        PendingTransferHasDifferentDebitAccountId = 46 "pending_transfer_has_different_debit_account_id",
        PendingTransferHasDifferentCreditAccountId = 47 "pending_transfer_has_different_credit_account_id",
        PendingTransferHasDifferentLedger = 48 "pending_transfer_has_different_ledger",
        PendingTransferHasDifferentCode = 49 "pending_transfer_has_different_code",
        ExceedsPendingTransferAmount = 50 "exceeds_pending_transfer_amount",
        PendingTransferHasDifferentAmount = 51 "pending_transfer_has_different_amount",
        PendingTransferAlreadyPosted = 52 "pending_transfer_already_posted",
        PendingTransferAlreadyVoided = 53 "pending_transfer_already_voided",
        PendingTransferExpired = 54 "pending_transfer_expired",
        ImportedEventTimestampMustNotRegress = 55 "imported_event_timestamp_must_not_regress",
        ImportedEventTimestampMustPostdateDebitAccount = 56 "imported_event_timestamp_must_postdate_debit_account",
        ImportedEventTimestampMustPostdateCreditAccount = 57 "imported_event_timestamp_must_postdate_credit_account",
        ImportedEventTimeoutMustBeZero = 58 "imported_event_timeout_must_be_zero",
        DebitAccountAlreadyClosed = 59 "debit_account_already_closed",
        CreditAccountAlreadyClosed = 60 "credit_account_already_closed",
        OverflowsDebitsPending = 61 "overflows_debits_pending",
        OverflowsCreditsPending = 62 "overflows_credits_pending",
        OverflowsDebitsPosted = 63 "overflows_debits_posted",
        OverflowsCreditsPosted = 64 "overflows_credits_posted",
        OverflowsDebits = 65 "overflows_debits",
        OverflowsCredits = 66 "overflows_credits",
        OverflowsTimeout = 67 "overflows_timeout",
        ExceedsCredits = 68 "exceeds_credits",
        ExceedsDebits = 69 "exceeds_debits",
    }
}

codes! {
    /// What became of a ledger's description. Name may change; currency and scale may not once given.
    DescribeLedgerResult {
        Described = 1 "described",
        Unchanged = 2 "unchanged",
        LedgerMustNotBeZero = 3 "ledger_must_not_be_zero",
        NameTooLong = 4 "name_too_long",
        CurrencyTooLong = 5 "currency_too_long",
        ScaleOutOfRange = 6 "scale_out_of_range",
        CurrencyMustNotChange = 7 "currency_must_not_change",
        ScaleMustNotChange = 8 "scale_must_not_change",
    }
}

impl CreateTransferResult {
    /// Whether the failure depended on the state, so that the id may never be used again.
    #[must_use]
    pub const fn burns_id(self) -> bool {
        matches!(
            self,
            Self::DebitAccountNotFound
                | Self::CreditAccountNotFound
                | Self::PendingTransferNotFound
                | Self::ExceedsCredits
                | Self::ExceedsDebits
                | Self::DebitAccountAlreadyClosed
                | Self::CreditAccountAlreadyClosed
        )
    }
}
