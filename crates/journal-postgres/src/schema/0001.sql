-- Roles. People and programs log in as others that are members of these. Where the three are there and hold what they
-- need, the schema's owner may migrate; otherwise an administrator who may create roles does it once.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['shanraq_owner', 'shanraq_writer', 'shanraq_reader'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute pg_catalog.format('create role %I nologin', wanted);
        end if;
    end loop;
    if not pg_catalog.pg_has_role('shanraq_writer', 'shanraq_reader', 'usage') then
        grant shanraq_reader to shanraq_writer;
    end if;
    -- Without it pg_stat_replication shows a writer no standby's position.
    if not pg_catalog.pg_has_role('shanraq_writer', 'pg_read_all_stats', 'usage') then
        grant pg_read_all_stats to shanraq_writer;
    end if;
end
$$;

create schema shanraq authorization shanraq_owner;
set local role shanraq_owner;
revoke all on schema shanraq from public;
grant usage on schema shanraq to shanraq_reader;

create table shanraq.schema_version (
    version integer primary key,
    applied_at timestamptz not null default pg_catalog.now()
);

-- One row. Heights a partition; fixed for ever, since partitions are found by dividing a height by it.
create table shanraq.layout (
    only_row boolean primary key default true check (only_row),
    partition_heights bigint not null check (partition_heights > 0)
);

create table shanraq.journal (
    shard integer not null check (shard >= 0),
    height bigint not null check (height > 0),
    chunk smallint not null check (chunk >= 0),
    epoch bigint not null check (epoch > 0),
    writer uuid not null,
    bytes bytea not null,
    primary key (shard, height, chunk)
) partition by range (height);
-- Compressed or moved out of line, the same bytes took two to three times as long.
alter table shanraq.journal alter column bytes set storage plain;

-- Who may append. A claim stops the writer before it at its next append, so that the head stands still.
-- The claim alone makes nothing safe: that is what the condition of each append and the primary key do.
create table shanraq.term_claim (
    shard integer primary key,
    epoch bigint not null,
    writer uuid not null
);

-- Claims the next term and gives its epoch: above the last claim's and above `above`.
create function shanraq.claim_term(of_shard integer, above bigint, by_writer uuid) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into shanraq.term_claim as claim (shard, epoch, writer) values (of_shard, above + 1, by_writer)
    on conflict (shard) do update set epoch = greatest(claim.epoch, above) + 1, writer = excluded.writer
    returning epoch
$$;

-- Makes sure that the partition of height `at` and `ahead` more stand and are attached. Gives the first height that
-- none of them covers. A partition is made by itself and then attached, which stops nobody who appends.
create function shanraq.ensure_partitions(at bigint, ahead integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    span constant bigint := (select partition_heights from shanraq.layout);
    number bigint := at / span;
    first bigint;
    leaf text;
begin
    if at < 1 or ahead < 0 or ahead > 16 then
        raise exception 'ensure_partitions: at must be at least 1 and ahead from 0 to 16';
    end if;
    perform pg_advisory_xact_lock(7236284021843207);
    for number in at / span .. at / span + ahead loop
        first := number * span;
        leaf := 'journal_' || lpad(first::text, 19, '0');
        if to_regclass('shanraq.' || leaf) is null then
            execute format('create table shanraq.%I (like shanraq.journal including all)', leaf);
            -- Nothing is ever updated or deleted; vacuum freezes a partition once, when it is full.
            execute format('alter table shanraq.%I set (autovacuum_enabled = false)', leaf);
            execute format('alter table shanraq.%I add constraint height_range check (height >= %s and height < %s)',
                leaf, first, first + span);
            execute format('grant select on shanraq.%I to shanraq_reader', leaf);
        end if;
        if not exists (select from pg_inherits where inhparent = 'shanraq.journal'::regclass
                       and inhrelid = to_regclass('shanraq.' || leaf) and not inhdetachpending) then
            execute format('alter table shanraq.journal attach partition shanraq.%I for values from (%s) to (%s)',
                leaf, first, first + span);
        end if;
    end loop;
    return (at / span + ahead + 1) * span;
end
$$;

revoke all on all functions in schema shanraq from public;
grant execute on all functions in schema shanraq to shanraq_writer;
grant select on all tables in schema shanraq to shanraq_reader;
grant insert on shanraq.journal to shanraq_writer;
