-- Roles. People and programs log in as others that are members of these. Where they are there and hold what they need,
-- the schema's owner may migrate; otherwise an administrator who may create roles does it once.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['shanraq_owner', 'shanraq_projection', 'shanraq_projection_reader'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute pg_catalog.format('create role %I nologin', wanted);
        end if;
    end loop;
    if not pg_catalog.pg_has_role('shanraq_projection', 'shanraq_projection_reader', 'usage') then
        grant shanraq_projection_reader to shanraq_projection;
    end if;
    -- Where the journal is on the same server, one login reads it and writes the tables. The last block is known to be
    -- final when a standby has flushed it, which only the statistics show.
    if exists (select from pg_catalog.pg_roles where rolname = 'shanraq_reader') then
        if not pg_catalog.pg_has_role('shanraq_projection', 'shanraq_reader', 'usage') then
            grant shanraq_reader to shanraq_projection;
        end if;
        if not pg_catalog.pg_has_role('shanraq_projection', 'pg_read_all_stats', 'usage') then
            grant pg_read_all_stats to shanraq_projection;
        end if;
    end if;
end
$$;

create schema ledger authorization shanraq_owner;
set local role shanraq_owner;
revoke all on schema ledger from public;
grant usage on schema ledger to shanraq_projection_reader;

create table ledger.schema_version (
    version integer primary key,
    applied_at timestamptz not null default pg_catalog.now()
);

-- One row. Seconds a partition of `transfers` spans; fixed, since partitions are found by dividing a time by it.
create table ledger.layout (
    only_row boolean primary key default true check (only_row),
    partition_s bigint not null check (partition_s between 1 and 9000000000)
);

-- One row: the last block that is in the tables. It moves in the transaction that moves the tables, and only from the
-- very block that the one who moves it started from.
create table ledger.position (
    only_row boolean primary key default true check (only_row),
    shard integer not null,
    height bigint not null check (height >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    -- Of the block's last event; 0 before the first block.
    timestamp_ns bigint not null,
    -- In `transfers` and in `accounts`.
    transfers bigint not null,
    accounts bigint not null,
    projected_at timestamptz not null default pg_catalog.now()
);
insert into ledger.position (shard, height, hash, timestamp_ns, transfers, accounts)
values (0, 0, pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex'), 0, 0, 0);

create table ledger.ledgers (
    ledger bigint primary key,
    name text not null,
    currency text not null,
    scale smallint not null
);

-- Not partitioned: it is asked by id, and does not grow with time. Half of each page is left free, so that a changed
-- balance stays on its page and touches no index.
create table ledger.accounts (
    id uuid primary key,
    ledger bigint not null,
    code integer not null,
    flags integer not null,
    debits_pending numeric(39, 0) not null,
    debits_posted numeric(39, 0) not null,
    credits_pending numeric(39, 0) not null,
    credits_posted numeric(39, 0) not null,
    user_data_128 uuid,
    user_data_64 numeric(20, 0),
    user_data_32 bigint,
    timestamp_ns bigint not null
) with (fillfactor = 50);
create index accounts_by_ledger on ledger.accounts (ledger, code);
create index accounts_by_user_data_128 on ledger.accounts (user_data_128) where user_data_128 is not null;
create index accounts_by_user_data_64 on ledger.accounts (user_data_64) where user_data_64 is not null;
create index accounts_by_user_data_32 on ledger.accounts (user_data_32) where user_data_32 is not null;

-- Every change of a balance, in the order of commit, which is that of `timestamp_ns`. An expiry has no id.
create table ledger.transfers (
    timestamp_ns bigint not null,
    id uuid,
    kind text not null,
    debit_account_id uuid not null,
    credit_account_id uuid not null,
    amount numeric(39, 0) not null,
    pending_id uuid,
    ledger bigint not null,
    code integer not null,
    flags integer not null,
    timeout_s bigint,
    user_data_128 uuid,
    user_data_64 numeric(20, 0),
    user_data_32 bigint,
    -- The totals of the debited and of the credited account after it.
    debit_debits_pending numeric(39, 0) not null,
    debit_debits_posted numeric(39, 0) not null,
    debit_credits_pending numeric(39, 0) not null,
    debit_credits_posted numeric(39, 0) not null,
    credit_debits_pending numeric(39, 0) not null,
    credit_debits_posted numeric(39, 0) not null,
    credit_credits_pending numeric(39, 0) not null,
    credit_credits_posted numeric(39, 0) not null,
    primary key (timestamp_ns)
) partition by range (timestamp_ns);
create index transfers_by_id on ledger.transfers (id);
create index transfers_by_debit on ledger.transfers (debit_account_id, timestamp_ns);
create index transfers_by_credit on ledger.transfers (credit_account_id, timestamp_ns);
create index transfers_by_pending_id on ledger.transfers (pending_id) where pending_id is not null;
create index transfers_by_user_data_128 on ledger.transfers (user_data_128, timestamp_ns) where user_data_128 is not null;
create index transfers_by_user_data_64 on ledger.transfers (user_data_64, timestamp_ns) where user_data_64 is not null;
create index transfers_by_user_data_32 on ledger.transfers (user_data_32, timestamp_ns) where user_data_32 is not null;

-- Pending transfers that are neither posted, voided nor expired.
create table ledger.open_pendings (
    id uuid primary key,
    timestamp_ns bigint not null,
    debit_account_id uuid not null,
    credit_account_id uuid not null,
    amount numeric(39, 0) not null,
    ledger bigint not null,
    code integer not null,
    flags integer not null,
    timeout_s bigint,
    user_data_128 uuid,
    user_data_64 numeric(20, 0),
    user_data_32 bigint
);

-- Makes sure that the partition of a time stands. Gives the first time after it, or null at the end of time.
create function ledger.ensure_partition(at_ns bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    span_s constant bigint := (select partition_s from ledger.layout);
    first_s constant bigint := at_ns / 1000000000 / span_s * span_s;
    -- 9223372036 s is where nanoseconds leave 64 bits.
    is_last constant boolean := first_s + span_s >= 9223372036;
    leaf constant text := 'transfers_' || to_char(to_timestamp(first_s) at time zone 'UTC', 'YYYYMMDD_HH24MISS');
begin
    if at_ns < 1 then
        raise exception 'ensure_partition: at_ns must be at least 1';
    end if;
    perform pg_advisory_xact_lock(7236284021843209);
    -- Made by itself and then attached, which stops nobody who reads.
    if to_regclass('ledger.' || leaf) is null then
        execute format('create table ledger.%I (like ledger.transfers including all)', leaf);
        execute format('alter table ledger.%I add constraint time_range check (timestamp_ns >= %s%s)', leaf,
            first_s * 1000000000,
            case when is_last then '' else ' and timestamp_ns < ' || (first_s + span_s) * 1000000000 end);
        execute format('grant select on ledger.%I to shanraq_projection_reader', leaf);
        execute format('alter table ledger.transfers attach partition ledger.%I for values from (%s) to (%s)', leaf,
            first_s * 1000000000, case when is_last then 'maxvalue' else ((first_s + span_s) * 1000000000)::text end);
    end if;
    return case when is_last then null else (first_s + span_s) * 1000000000 end;
end
$$;

-- Empties the tables, so that all of it is projected anew. Waits for those who read, and keeps them waiting.
create function ledger.reset() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    leaf regclass;
begin
    update ledger.position set height = 0, hash = decode(repeat('00', 32), 'hex'), timestamp_ns = 0, transfers = 0,
        accounts = 0, projected_at = now();
    truncate ledger.ledgers, ledger.accounts, ledger.open_pendings;
    for leaf in select inhrelid::regclass from pg_inherits where inhparent = 'ledger.transfers'::regclass loop
        execute format('drop table %s', leaf);
    end loop;
end
$$;
revoke all on all functions in schema ledger from public;
grant execute on all functions in schema ledger to shanraq_projection;
grant update on ledger.position to shanraq_projection;
grant insert on ledger.accounts, ledger.transfers to shanraq_projection;
grant update on ledger.accounts to shanraq_projection;
grant insert, update on ledger.ledgers to shanraq_projection;
grant insert, delete on ledger.open_pendings to shanraq_projection;
grant select on all tables in schema ledger to shanraq_projection_reader;
