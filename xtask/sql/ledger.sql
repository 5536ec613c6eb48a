-- The peer: a double-entry ledger as stored procedures, as a careful PostgreSQL team writes it for speed.
--
-- Owns: accounts, transfers, create_transfer, the audit at the end. Loaded by `cargo xtask bench --peer postgres`.
-- It has the fields and indexes of Shanraq's history. Where the two cannot be equal, PostgreSQL has the lighter work:
-- ids and amounts are 64 bits wide (Shanraq: 128), only plain transfers exist (no pending, chains, closing), an id that
-- failed is not burnt, the reply carries no balances, timestamps need not rise strictly, nothing is hashed or encrypted.

create table accounts (
    id              bigint   primary key,
    debits_pending  bigint   not null default 0,
    debits_posted   bigint   not null default 0,
    credits_pending bigint   not null default 0,
    credits_posted  bigint   not null default 0,
    user_data_128   uuid     not null default '00000000-0000-0000-0000-000000000000',
    user_data_64    bigint   not null default 0,
    user_data_32    integer  not null default 0,
    ledger          integer  not null check (ledger <> 0),
    code            smallint not null check (code <> 0),
    flags           smallint not null default 0,
    timestamp       bigint   not null
) with (fillfactor = 40);  -- room on the page, so that an update of balances touches no index

create table transfers (
    id                bigint   primary key,
    debit_account_id  bigint   not null,
    credit_account_id bigint   not null,
    amount            bigint   not null check (amount >= 0),
    pending_id        bigint   not null default 0,
    user_data_128     uuid     not null,
    user_data_64      bigint   not null,
    user_data_32      integer  not null,
    timeout           integer  not null default 0,
    ledger            integer  not null,
    code              smallint not null,
    flags             smallint not null,
    timestamp         bigint   not null
);

create index transfers_by_debit on transfers (debit_account_id, timestamp);
create index transfers_by_credit on transfers (credit_account_id, timestamp);
create index transfers_by_code on transfers (code, timestamp);
create index transfers_by_ledger on transfers (ledger, timestamp);
-- Zero means "not given" and is never searched for.
create index transfers_by_user_data_128 on transfers (user_data_128, timestamp)
    where user_data_128 <> '00000000-0000-0000-0000-000000000000';
create index transfers_by_user_data_64 on transfers (user_data_64, timestamp) where user_data_64 <> 0;
create index transfers_by_user_data_32 on transfers (user_data_32, timestamp) where user_data_32 <> 0;

-- Flags of an account, as in Shanraq.
--   2: debits_must_not_exceed_credits    4: credits_must_not_exceed_debits    32: closed

-- Answers with the name of the result, as in docs/ledger.md. One call is one transaction.
create function create_transfer(
    p_id bigint, p_debit bigint, p_credit bigint, p_amount bigint,
    p_user_data_128 uuid, p_user_data_64 bigint, p_user_data_32 integer,
    p_ledger integer, p_code smallint
) returns text language plpgsql as $$
declare
    debit    accounts%rowtype;
    credit   accounts%rowtype;
    existing transfers%rowtype;
begin
    if p_id = 0 then return 'id_must_not_be_zero'; end if;
    select * into existing from transfers where id = p_id;
    if found then
        return case
            when existing.debit_account_id <> p_debit then 'exists_with_different_debit_account_id'
            when existing.credit_account_id <> p_credit then 'exists_with_different_credit_account_id'
            when existing.amount <> p_amount then 'exists_with_different_amount'
            when existing.user_data_128 <> p_user_data_128 then 'exists_with_different_user_data_128'
            when existing.user_data_64 <> p_user_data_64 then 'exists_with_different_user_data_64'
            when existing.user_data_32 <> p_user_data_32 then 'exists_with_different_user_data_32'
            when existing.ledger <> p_ledger then 'exists_with_different_ledger'
            when existing.code <> p_code then 'exists_with_different_code'
            else 'exists'
        end;
    end if;
    if p_debit = p_credit then return 'accounts_must_be_different'; end if;
    if p_ledger = 0 then return 'ledger_must_not_be_zero'; end if;
    if p_code = 0 then return 'code_must_not_be_zero'; end if;

    -- The lower id first: two transfers between the same accounts cannot wait for each other.
    if p_debit < p_credit then
        select * into debit from accounts where id = p_debit for no key update;
        select * into credit from accounts where id = p_credit for no key update;
    else
        select * into credit from accounts where id = p_credit for no key update;
        select * into debit from accounts where id = p_debit for no key update;
    end if;
    if debit.id is null then return 'debit_account_not_found'; end if;
    if credit.id is null then return 'credit_account_not_found'; end if;
    if debit.ledger <> credit.ledger then return 'accounts_must_have_the_same_ledger'; end if;
    if debit.ledger <> p_ledger then return 'transfer_must_have_the_same_ledger_as_accounts'; end if;
    if debit.flags & 32 <> 0 then return 'debit_account_already_closed'; end if;
    if credit.flags & 32 <> 0 then return 'credit_account_already_closed'; end if;
    if debit.flags & 2 <> 0 and debit.debits_pending + debit.debits_posted + p_amount > debit.credits_posted then
        return 'exceeds_credits';
    end if;
    if credit.flags & 4 <> 0 and credit.credits_pending + credit.credits_posted + p_amount > credit.debits_posted then
        return 'exceeds_debits';
    end if;

    update accounts set debits_posted = debits_posted + p_amount where id = p_debit;
    update accounts set credits_posted = credits_posted + p_amount where id = p_credit;
    -- A repeat that came at the same moment fails here on the primary key, and its whole transaction with it.
    insert into transfers values (
        p_id, p_debit, p_credit, p_amount, 0, p_user_data_128, p_user_data_64, p_user_data_32, 0, p_ledger, p_code, 0,
        (extract(epoch from clock_timestamp()) * 1000000000)::bigint
    );
    return 'created';
end
$$;

-- What must hold when the load is over: one row.
create view audit as
select
    (select count(*) from transfers) as transfers,
    (select coalesce(sum(amount), 0) from transfers) as amounts,
    (select coalesce(sum(debits_posted), 0) from accounts) as debits,
    (select coalesce(sum(credits_posted), 0) from accounts) as credits,
    (select count(*) from accounts a
     left join (select debit_account_id as id, sum(amount) as total from transfers group by 1) d using (id)
     left join (select credit_account_id as id, sum(amount) as total from transfers group by 1) c using (id)
     where a.debits_posted <> coalesce(d.total, 0) or a.credits_posted <> coalesce(c.total, 0)) as accounts_that_differ;
