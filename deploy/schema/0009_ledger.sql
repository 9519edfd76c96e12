-- The ledger's sealing: entries get their place in a batch, whose Merkle root is signed and linked to the batch before.
-- proto/ledger-format.md defines the texts, hashes and signatures; the janitor computes them.

-- The canonical text of an entry: what its leaf hash is over, and a line of the batch's file at the ledger target.
create function rushes.ledger_text(l rushes.ledger) returns text
	language sql stable
	as $$
	select jsonb_build_object(
		'id', l.id, 'at', to_char(l.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', l.kind,
		'account', l.account, 'recording', l.recording, 'copy', l.copy, 'rule', l.rule, 'place', l.place,
		'evidence', l.evidence)::text
$$;

-- The last sealed batch with all that its head says, or no row.
create function rushes.ledger_last_batch()
	returns table (batch bigint, leaves integer, root bytea, previous bytea, at text, key_id text, signature bytea, now text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select b.id, b.leaves, b.root, b.previous, to_char(b.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), b.key_id,
	       b.signature, to_char(greatest(rushes.rushes_now(), b.at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
	from (select max(id) as id from rushes.ledger_batch) m left join rushes.ledger_batch b on b.id = m.id
$$;

-- Entries that no batch holds yet, in the order of their ids. A transaction that commits late brings an id below those that
-- are sealed: it goes into the next batch.
create function rushes.ledger_unsealed(p_limit integer) returns table (id bigint, hash bytea)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$ select l.id, l.hash from rushes.ledger l where l.batch is null order by l.id limit p_limit $$;

-- Writes down a sealed batch and the place of each of its entries, in the order of p_entries. Refused (RU001) when the batch
-- before is not the last one, or an entry is in a batch already: then somebody else sealed meanwhile.
create function rushes.ledger_seal(p_batch bigint, p_entries bigint[], p_root bytea, p_previous bytea, p_at timestamptz,
				   p_key_id text, p_signature bytea) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_count integer;
begin
	-- of two sealers one waits here and is then refused by the primary key, as a conflict
	insert into rushes.ledger_batch (id, leaves, root, previous, at, key_id, signature)
	values (p_batch, cardinality(p_entries), p_root, p_previous, p_at, p_key_id, p_signature);
	if (select coalesce(max(id), 0) from rushes.ledger_batch where id < p_batch) <> p_batch - 1
	   or exists (select from rushes.ledger_batch where id > p_batch) then
		perform rushes.refuse('RU001', format('batch %s does not follow the last one', p_batch));
	end if;
	update rushes.ledger l set batch = p_batch, position = e.position - 1
	from unnest(p_entries) with ordinality as e(id, position)
	where l.id = e.id and l.batch is null;
	get diagnostics v_count = row_count;
	if v_count <> cardinality(p_entries) then
		perform rushes.refuse('RU001', format('%s of the entries of batch %s are sealed or gone',
			cardinality(p_entries) - v_count, p_batch));
	end if;
	-- told when it is sealed, so that the news carries the signed head
	insert into rushes.event (day, type, account, recording, entry)
	select (rushes.rushes_now() at time zone 'UTC')::date, 'recording.deleted', l.account, l.recording, l.id
	from rushes.ledger l where l.batch = p_batch and l.kind = 'complete' order by l.position;
end $$;

-- Batches that the ledger target does not have yet, the oldest first.
create function rushes.ledger_unpublished(p_limit integer)
	returns table (batch bigint, leaves integer, root bytea, previous bytea, at text, key_id text, signature bytea)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select b.id, b.leaves, b.root, b.previous, to_char(b.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), b.key_id,
	       b.signature
	from rushes.ledger_batch b where b.published_at is null order by b.id limit p_limit
$$;

-- The texts of a batch's entries in their order.
create function rushes.ledger_batch_texts(p_batch bigint) returns table (text text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$ select rushes.ledger_text(l) from rushes.ledger l where l.batch = p_batch order by l.position $$;

-- The ledger target has the batch.
create function rushes.ledger_published(p_batch bigint) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	update rushes.ledger_batch set published_at = rushes.rushes_now() where id = p_batch and published_at is null
$$;

-- For the alarms: how old the oldest unsealed entry and the oldest unpublished batch are, in seconds (0: none), and how many
-- batches are unpublished.
create function rushes.ledger_backlog(out unsealed_s double precision, out unpublished bigint, out unpublished_s double precision)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select coalesce(extract(epoch from rushes.rushes_now() - (
			select l.at from rushes.ledger l where l.batch is null order by l.id limit 1)), 0)::double precision,
	       count(*), coalesce(extract(epoch from rushes.rushes_now() - min(b.at)), 0)::double precision
	from rushes.ledger_batch b where b.published_at is null
$$;

grant execute on function
	rushes.ledger_last_batch(), rushes.ledger_unsealed(integer),
	rushes.ledger_seal(bigint, bigint[], bytea, bytea, timestamptz, text, bytea), rushes.ledger_unpublished(integer),
	rushes.ledger_batch_texts(bigint), rushes.ledger_published(bigint), rushes.ledger_backlog()
	to rushes_janitor;
grant execute on function rushes.ledger_text(rushes.ledger) to rushes_ctl;
