-- Vacuum goes over a leaf of transfers soon after its rows came, and freezes them at once: pages that were made since the last
-- checkpoint are not logged whole when it changes them. By PostgreSQL's own settings it came when a leaf had grown by a fifth,
-- and logged that fifth anew within seconds; on a line between hosts that loses packets, the ledger's commits waited for
-- minutes behind it.
set local role shanraq_owner;

create function ledger.leaf_settings() returns text language sql immutable as
$$ select 'autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0, '
    'autovacuum_freeze_min_age = 0' $$;

-- Makes sure that the partition of a time stands. Gives the first time after it, or null at the end of time.
create or replace function ledger.ensure_partition(at_ns bigint) returns bigint
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
        execute format('alter table ledger.%I set (%s)', leaf, ledger.leaf_settings());
        execute format('grant select on ledger.%I to shanraq_projection_reader', leaf);
        execute format('alter table ledger.transfers attach partition ledger.%I for values from (%s) to (%s)', leaf,
            first_s * 1000000000, case when is_last then 'maxvalue' else ((first_s + span_s) * 1000000000)::text end);
    end if;
    return case when is_last then null else (first_s + span_s) * 1000000000 end;
end
$$;

do $$
declare
    leaf regclass;
begin
    for leaf in select inhrelid::regclass from pg_inherits where inhparent = 'ledger.transfers'::regclass loop
        execute format('alter table %s set (%s)', leaf, ledger.leaf_settings());
    end loop;
end
$$;

revoke all on function ledger.leaf_settings() from public;
