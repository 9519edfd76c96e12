-- Fills the tables as three years of use leave them: :rows recordings, in the order of their time, with what hangs on each.
-- Every tenth is a tombstone. Three accounts stand apart for what becomes due: L holds 100,000 takes that follow one another,
-- E 100,000 (of a million; else every hundredth of :rows) spread over all the time, B 1,000 spread likewise.
set session_replication_role = replica;
set synchronous_commit = off;
set maintenance_work_mem = '1GB';
set max_parallel_maintenance_workers = 2;
set jit = off;

create schema bench;
create table bench.size (rows bigint, began timestamptz, step interval, spread bigint, rare bigint);
insert into bench.size
select :rows, date_trunc('hour', now()) - interval '1095 days', interval '1094 days' / :rows, greatest(:rows / 100000, 2), greatest(:rows / 1000, 4);

-- An id as the services make them: time first (RFC 9562, version 7).
create function bench.id(p_at timestamptz, p_kind integer, p_n bigint) returns uuid language sql immutable parallel safe
	as $$ select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(p_kind), 3, '0')
		      || 'b' || lpad(to_hex(p_n), 15, '0'))::uuid $$;
create function bench.fixed(p_kind integer, p_n bigint) returns uuid language sql immutable parallel safe
	as $$ select (lpad(to_hex(p_kind), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(p_n), 12, '0'))::uuid $$;
-- A number in [0, 1) that looks random and is the same for the same two.
create function bench.roll(p_n bigint, p_what integer) returns double precision language sql immutable parallel safe
	as $$ select (hashint8extended(p_n, p_what) & 1048575) / 1048576.0 $$;

-- Accounts 0..1999 with few large and many small ones; 2001 is L, 2002 E, 2003 B.
insert into rushes.account (id, name, region, hash, plan, paid_until)
select bench.fixed(1, n), 'account ' || n, 'eu1', 'a' || lpad(n::text, 21, '0'), 'paid',
       case when n < 2000 and n % 3 = 0 then null else date_trunc('day', now()) + make_interval(days => 200 + (n % 400)::integer) end
from generate_series(0, 2003) n;
insert into rushes.environment (account, id, name)
select bench.fixed(1, n / 2), bench.fixed(2, n), 'environment ' || n % 2 from generate_series(0, 4007) n;
insert into rushes.lifecycle_rule (account, environment, name, age_days, enabled)
select account, id, 'old', 1300, true from rushes.environment where bench.roll(('x' || right(id::text, 12))::bit(48)::bigint, 9) < 0.3;
insert into rushes.account_key (account, id, root_key, wrapped) select id, id, 'root', '\x00' from rushes.account;
insert into rushes.node (id, region, service, peer_url)
select bench.fixed(3, n), 'eu1', case when n < 8 then 'ingest' else 'transcoder' end, 'https://localhost:1' from generate_series(0, 15) n;
insert into rushes.target (id, owner, account, region, name, kind, endpoint)
select bench.fixed(4, n), 'ours', null, 'eu1', 'storage ' || n, 's3', '{}'::jsonb from generate_series(0, 3) n
union all
select bench.fixed(5, n), 'client', bench.fixed(1, n), 'eu1', 'bucket', 's3', '{}'::jsonb from generate_series(0, 1999, 3) n;
insert into rushes.environment_target (account, environment, target)
select e.account, e.id, t.id from rushes.environment e join rushes.target t on t.account = e.account;
insert into rushes.link (account, id, environment, code_hash, created_by, expires_at)
select bench.fixed(1, n % 2000), bench.fixed(6, n), bench.fixed(2, n % 2000 * 2), decode(md5(n::text), 'hex'), 'bench',
       now() - interval '29 days' + n * interval '10 s' from generate_series(1, :rows / 40) n;
insert into rushes.session (account, id, link, environment, resume_hash, consent_text, consent_at, expires_at)
select account, id, id, environment, '\x01', 'yes', now(), expires_at from rushes.link;

-- What recording n is, for all the tables. `state`: of every thousand of the last 27 days five could not be converted; the
-- last of all are under way. `digits`: of its id, so that those of its files and copies are cheap to make.
create unlogged table bench.take (n bigint, id uuid, digits text, at timestamptz, account bigint, owner uuid, environment uuid, state text,
	has_raw boolean, sha256 bytea);
create procedure bench.take_all() language plpgsql as $$
begin
	for v_from in 1 .. (select rows from bench.size) by 250000 loop
		insert into bench.take
		select q.n, q.id, replace(q.id::text, '-', ''), q.at, q.account, bench.fixed(1, q.account),
		       bench.fixed(2, q.account * 2 + q.n % 2), q.state, bench.roll(q.n, 2) < 0.2, sha256(int8send(q.n))
		from (
			select g.n, g.at, bench.id(g.at, 0, g.n) as id,
			       case when g.n > s.rows / 20 and g.n <= s.rows / 20 + 200000 and g.n % 2 = 0 then 2001
				    when g.n % s.spread = 1 % s.spread then 2002
				    when g.n % s.rare = 3 then 2003
				    else floor(2000 * bench.roll(g.n, 1) ^ 2) end::bigint as account,
			       case when g.n > s.rows - s.rows / 20000 then 'saved'
				    when g.n % 10 = 7 then 'deleted'
				    when g.at > now() - interval '27 days' and g.n % 200 = 3 then 'failed-conversion'
				    else 'closed' end as state
			from bench.size s cross join lateral (
				select i as n, s.began + i * s.step as at
				from generate_series(v_from, least(v_from + 249999, s.rows)) i) g) q;
	end loop;
	create index on bench.take (n);
	analyze bench.take;
end $$;
-- The id of what hangs on a recording.
create function bench.part(p_digits text, p_kind integer) returns uuid language sql immutable parallel safe
	as $$ select (left(p_digits, 13) || lpad(to_hex(p_kind), 3, '0') || right(p_digits, 16))::uuid $$;

-- Loads one table as quickly as PostgreSQL can: its other indexes are made at the end.
create procedure bench.load(p_table text, p_inserts text[]) language plpgsql as $$
declare
	v_insert text;
	v_index record;
	v_later text[] := '{}';
	v_rows bigint := (select rows from bench.size);
begin
	for v_index in
		select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition from pg_index i
		where i.indrelid = p_table::regclass and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
	loop
		-- of a partitioned table PostgreSQL writes the definition of the parent's alone
		v_later := v_later || replace(v_index.definition, ' ON ONLY ', ' ON ');
		execute 'drop index ' || v_index.name;
	end loop;
	foreach v_insert in array p_inserts loop
		for v_from in 1 .. v_rows by 250000 loop
			execute v_insert using v_from, least(v_from + 249999, v_rows);
		end loop;
	end loop;
	for i in 1 .. cardinality(v_later) loop
		execute v_later[i];
	end loop;
end $$;
