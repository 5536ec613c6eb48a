-- What is shipped for those who ask. Each is one plain statement, so that it is planned together with the question
-- around it. None sees more than the tables; none is needed to read them.
set local role shanraq_owner;

create function ledger.at(ns bigint) returns timestamptz language sql immutable parallel safe as
$$ select timestamptz 'epoch' + (ns / 1000) * interval '1 microsecond' $$;

create function ledger.ns(at timestamptz) returns bigint language sql immutable parallel safe as
$$ select (extract(epoch from at) * 1000000000)::bigint $$;

-- An id as the API writes it, in decimal, as the tables have it, and back.
create function ledger.to_uuid(id numeric) returns uuid language sql immutable parallel safe as
$$ select (lpad(to_hex(div(id, 79228162514264337593543950336)::bigint), 8, '0')
    || lpad(to_hex(mod(div(id, 18446744073709551616), 4294967296)::bigint), 8, '0')
    || lpad(to_hex(mod(div(id, 4294967296), 4294967296)::bigint), 8, '0')
    || lpad(to_hex(mod(id, 4294967296)::bigint), 8, '0'))::uuid $$;

create function ledger.to_number(id uuid) returns numeric language sql immutable parallel safe as
$$ select ('x' || substr(id::text, 1, 8))::bit(32)::bigint * 79228162514264337593543950336
    + ('x' || substr(id::text, 10, 4) || substr(id::text, 15, 4))::bit(32)::bigint * 18446744073709551616
    + ('x' || substr(id::text, 20, 4) || substr(id::text, 25, 4))::bit(32)::bigint * 4294967296::numeric
    + ('x' || substr(id::text, 29, 8))::bit(32)::bigint $$;

-- How far the tables are: transfers after this block are not in them yet.
create view ledger.height as
select height, encode(hash, 'hex') as hash, ledger.at(timestamp_ns) as last_event_at, projected_at from ledger.position;

-- Each transfer twice: as seen from the account that it debits and from the one that it credits, with its totals after.
create view ledger.entries as
select debit_account_id as account_id, 'debit'::text as side, timestamp_ns, id, kind, amount,
    credit_account_id as other_account_id, pending_id, ledger, code, user_data_128, user_data_64, user_data_32,
    debit_debits_pending as debits_pending, debit_debits_posted as debits_posted,
    debit_credits_pending as credits_pending, debit_credits_posted as credits_posted
from ledger.transfers
union all
select credit_account_id, 'credit', timestamp_ns, id, kind, amount,
    debit_account_id, pending_id, ledger, code, user_data_128, user_data_64, user_data_32,
    credit_debits_pending, credit_debits_posted, credit_credits_pending, credit_credits_posted
from ledger.transfers;

-- The balance of an account now.
create function ledger.balance(of_account uuid)
returns table (debits_pending numeric, debits_posted numeric, credits_pending numeric, credits_posted numeric)
language sql stable parallel safe as
$$ select a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted
   from ledger.accounts a where a.id = of_account $$;

-- The balance of an account at a moment: that after its last entry at or before it; no row before the first.
create function ledger.balance_at(of_account uuid, moment timestamptz)
returns table (timestamp_ns bigint, debits_pending numeric, debits_posted numeric, credits_pending numeric,
    credits_posted numeric)
language sql stable parallel safe as
$$ select last.* from (
       (select t.timestamp_ns, t.debit_debits_pending, t.debit_debits_posted, t.debit_credits_pending,
            t.debit_credits_posted
        from ledger.transfers t where t.debit_account_id = of_account and t.timestamp_ns <= ledger.ns(moment)
        order by t.timestamp_ns desc limit 1)
       union all
       (select t.timestamp_ns, t.credit_debits_pending, t.credit_debits_posted, t.credit_credits_pending,
            t.credit_credits_posted
        from ledger.transfers t where t.credit_account_id = of_account and t.timestamp_ns <= ledger.ns(moment)
        order by t.timestamp_ns desc limit 1)
   ) last order by 1 desc limit 1 $$;

-- The entries of an account from a moment on and before another, the oldest first, each with the totals after it.
create function ledger.statement(of_account uuid, from_at timestamptz, before_at timestamptz)
returns setof ledger.entries language sql stable parallel safe as
$$ select e.* from ledger.entries e where e.account_id = of_account
       and e.timestamp_ns >= ledger.ns(from_at) and e.timestamp_ns < ledger.ns(before_at)
   order by e.timestamp_ns $$;

-- The newest entries of an account, the newest first. Each side is asked by itself, so that old partitions are not
-- even opened.
create function ledger.newest_entries(of_account uuid, at_most integer)
returns setof ledger.entries language sql stable parallel safe as
$$ select newest.* from (
       (select t.debit_account_id, 'debit'::text, t.timestamp_ns, t.id, t.kind, t.amount, t.credit_account_id,
            t.pending_id, t.ledger, t.code, t.user_data_128, t.user_data_64, t.user_data_32,
            t.debit_debits_pending, t.debit_debits_posted, t.debit_credits_pending, t.debit_credits_posted
        from ledger.transfers t where t.debit_account_id = of_account order by t.timestamp_ns desc limit at_most)
       union all
       (select t.credit_account_id, 'credit', t.timestamp_ns, t.id, t.kind, t.amount, t.debit_account_id,
            t.pending_id, t.ledger, t.code, t.user_data_128, t.user_data_64, t.user_data_32,
            t.credit_debits_pending, t.credit_debits_posted, t.credit_credits_pending, t.credit_credits_posted
        from ledger.transfers t where t.credit_account_id = of_account order by t.timestamp_ns desc limit at_most)
   ) newest order by newest.timestamp_ns desc limit at_most $$;

-- The totals of a ledger by the code of its accounts. Debits and credits of all lines together are equal. Reads every
-- account of that ledger.
create function ledger.trial_balance(of_ledger bigint)
returns table (code integer, accounts bigint, debits_pending numeric, debits_posted numeric, credits_pending numeric,
    credits_posted numeric)
language sql stable parallel safe as
$$ select a.code, count(*), sum(a.debits_pending), sum(a.debits_posted), sum(a.credits_pending), sum(a.credits_posted)
   from ledger.accounts a where a.ledger = of_ledger group by a.code order by a.code $$;

-- Transfers by what the client noted with them, the oldest first.
create function ledger.transfers_by_user_data_128(value uuid) returns setof ledger.transfers
language sql stable parallel safe as
$$ select t.* from ledger.transfers t where t.user_data_128 = value order by t.timestamp_ns $$;
create function ledger.transfers_by_user_data_64(value numeric) returns setof ledger.transfers
language sql stable parallel safe as
$$ select t.* from ledger.transfers t where t.user_data_64 = value order by t.timestamp_ns $$;
create function ledger.transfers_by_user_data_32(value bigint) returns setof ledger.transfers
language sql stable parallel safe as
$$ select t.* from ledger.transfers t where t.user_data_32 = value order by t.timestamp_ns $$;

revoke all on function ledger.at, ledger.ns, ledger.to_uuid, ledger.to_number, ledger.balance, ledger.balance_at,
    ledger.statement, ledger.newest_entries, ledger.trial_balance, ledger.transfers_by_user_data_128,
    ledger.transfers_by_user_data_64, ledger.transfers_by_user_data_32 from public;
grant execute on function ledger.at, ledger.ns, ledger.to_uuid, ledger.to_number, ledger.balance, ledger.balance_at,
    ledger.statement, ledger.newest_entries, ledger.trial_balance, ledger.transfers_by_user_data_128,
    ledger.transfers_by_user_data_64, ledger.transfers_by_user_data_32 to shanraq_projection_reader;
grant select on ledger.height, ledger.entries to shanraq_projection_reader;
