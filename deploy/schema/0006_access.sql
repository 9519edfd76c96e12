-- Who may ask for what: accounts, environments, API keys, targets, links, sessions; and what people and the API read.

create function rushes.account_create(p_actor text, p_name text, p_region text, p_hash text, p_zone text, p_plan text,
				      p_expires timestamptz) returns uuid
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_id uuid;
begin
	if not exists (select from pg_timezone_names where name = p_zone) then
		perform rushes.refuse('RU005', format('%s is no time zone', p_zone));
	end if;
	insert into rushes.account (name, region, hash, zone, plan, trial_ends_at, paid_until)
	values (p_name, p_region, p_hash, p_zone, p_plan, case when p_plan = 'trial' then p_expires end,
		case when p_plan = 'paid' then p_expires end)
	returning id into v_id;
	perform rushes.add_audit(p_actor, 'account.create', v_id, v_id::text, jsonb_build_object('name', p_name, 'plan', p_plan));
	return v_id;
end $$;

-- Changes settings of an environment, or makes it when it does not exist. p_settings holds columns by name.
create function rushes.environment_set(p_actor text, p_account uuid, p_name text, p_settings jsonb) returns uuid
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_id uuid;
	v_key text;
begin
	perform from rushes.account where id = p_account for update;
	if not found then
		perform rushes.refuse('RU002', format('account %s does not exist', p_account));
	end if;
	select id into v_id from rushes.environment where account = p_account and name = p_name for update;
	if v_id is null then
		insert into rushes.environment (account, name) values (p_account, p_name) returning id into v_id;
	end if;
	for v_key in select jsonb_object_keys(p_settings) loop
		if v_key not in ('conversion', 'store_ours', 'do_not_store', 'backup', 'success', 'push_raw', 'push_snapshot',
				 'push_filmstrip', 'send_on_stop', 'broken_off', 'reconnect_window', 'playback_window', 'max_bytes',
				 'max_duration', 'max_idle', 'consent_text') then
			perform rushes.refuse('RU005', format('%s is no setting of an environment', v_key));
		end if;
	end loop;
	-- all at once, so that settings which belong together never contradict each other in between; the columns' own types
	-- check the values
	update rushes.environment e
	set (conversion, store_ours, do_not_store, backup, success, push_raw, push_snapshot, push_filmstrip, send_on_stop,
	     broken_off, reconnect_window, playback_window, max_bytes, max_duration, max_idle, consent_text) =
		(select n.conversion, n.store_ours, n.do_not_store, n.backup, n.success, n.push_raw, n.push_snapshot,
			n.push_filmstrip, n.send_on_stop, n.broken_off, n.reconnect_window, n.playback_window, n.max_bytes,
			n.max_duration, n.max_idle, n.consent_text
		 from jsonb_populate_record(e, p_settings) n)
	where account = p_account and id = v_id;
	update rushes.environment set rules_version = rules_version + 1 where account = p_account and id = v_id;
	-- living recordings follow
	insert into rushes.rules_change (account, environment) values (p_account, v_id);
	perform rushes.add_audit(p_actor, 'environment.set', p_account, v_id::text, p_settings);
	return v_id;
end $$;

create function rushes.environment_target_set(p_actor text, p_account uuid, p_environment uuid, p_target uuid, p_on boolean)
	returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	if not exists (select from rushes.target t where t.id = p_target and t.account = p_account) then
		perform rushes.refuse('RU002', format('account %s has no target %s', p_account, p_target));
	end if;
	if p_on then
		insert into rushes.environment_target (account, environment, target)
		values (p_account, p_environment, p_target) on conflict do nothing;
	else
		delete from rushes.environment_target
		where account = p_account and environment = p_environment and target = p_target;
	end if;
	perform rushes.add_audit(p_actor, 'environment.target', p_account, p_environment::text,
		jsonb_build_object('target', p_target, 'on', p_on));
end $$;

create function rushes.api_key_create(p_actor text, p_account uuid, p_id uuid, p_name text, p_hash bytea, p_scopes text[])
	returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	insert into rushes.api_key (account, id, name, secret_hash, scopes) values (p_account, p_id, p_name, p_hash, p_scopes);
	perform rushes.add_audit(p_actor, 'apikey.create', p_account, p_id::text, jsonb_build_object('scopes', p_scopes));
end $$;

create function rushes.api_key_revoke(p_actor text, p_id uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_account uuid;
begin
	update rushes.api_key set revoked_at = coalesce(revoked_at, rushes.rushes_now()) where id = p_id returning account into v_account;
	if not found then
		perform rushes.refuse('RU002', format('API key %s does not exist', p_id));
	end if;
	perform rushes.add_audit(p_actor, 'apikey.revoke', v_account, p_id::text);
end $$;

-- The account and scopes behind a key's secret; no row: no right.
create function rushes.api_key_check(p_id uuid, p_hash bytea) returns table (account uuid, scopes text[])
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select k.account, k.scopes from rushes.api_key k join rushes.account a on a.id = k.account
	where k.id = p_id and k.secret_hash = p_hash and k.revoked_at is null and a.closed_at is null
$$;

create function rushes.target_create(p_actor text, p_id uuid, p_owner text, p_account uuid, p_region text, p_name text,
				     p_kind text, p_endpoint jsonb, p_credential bytea, p_delete_at_target boolean) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	insert into rushes.target (id, owner, account, region, name, kind, endpoint, credential, delete_at_target)
	values (p_id, p_owner, p_account, p_region, p_name, p_kind, p_endpoint, p_credential, p_delete_at_target);
	perform rushes.add_audit(p_actor, 'target.create', p_account, p_id::text,
		jsonb_build_object('name', p_name, 'kind', p_kind, 'owner', p_owner));
end $$;

-- A changed endpoint demands its credential again: both change together.
create function rushes.target_credential_set(p_actor text, p_id uuid, p_endpoint jsonb, p_credential bytea) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_account uuid;
begin
	update rushes.target set endpoint = p_endpoint, credential = p_credential where id = p_id returning account into v_account;
	if not found then
		perform rushes.refuse('RU002', format('target %s does not exist', p_id));
	end if;
	perform rushes.add_audit(p_actor, 'target.credential', v_account, p_id::text);
end $$;

create function rushes.target_disable(p_actor text, p_id uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_account uuid;
begin
	update rushes.target set disabled_at = coalesce(disabled_at, rushes.rushes_now()) where id = p_id returning account into v_account;
	if not found then
		perform rushes.refuse('RU002', format('target %s does not exist', p_id));
	end if;
	perform rushes.add_audit(p_actor, 'target.disable', v_account, p_id::text);
end $$;

-- Links ------------------------------------------------------------------------------------------------------------

-- Makes a link. With an idempotency key the first call's link is the answer to all that follow (is_new false).
create function rushes.link_create(p_actor text, p_account uuid, p_environment uuid, p_id uuid, p_code_hash bytea,
				   p_expires timestamptz, p_uses_max integer, p_requester jsonb, p_idempotency text)
	returns table (id uuid, is_new boolean, expires_at timestamptz)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	l rushes.link;
	v_refusal text;
begin
	if p_expires <= rushes.rushes_now() or p_expires > rushes.rushes_now() + interval '366 days' then
		perform rushes.refuse('RU005', 'a link''s expiry must be in the future, and within a year');
	end if;
	select case when a.closed_at is not null then 'the account is closed'
		    when a.plan = 'trial' and a.trial_ends_at <= rushes.rushes_now() then 'the trial has expired'
		    when a.plan = 'paid' and a.paid_until <= rushes.rushes_now() then 'the subscription has expired' end
	into v_refusal from rushes.account a where a.id = p_account;
	if v_refusal is not null then
		perform rushes.refuse('RU003', v_refusal);
	end if;
	if not exists (select from rushes.environment e where e.account = p_account and e.id = p_environment) then
		perform rushes.refuse('RU002', format('the account has no environment %s', p_environment));
	end if;
	insert into rushes.link as x (account, id, environment, code_hash, created_by, expires_at, uses_max, requester, idempotency_key)
	values (p_account, p_id, p_environment, p_code_hash, p_actor, p_expires, p_uses_max, coalesce(p_requester, '{}'), p_idempotency)
	on conflict (account, idempotency_key) where idempotency_key is not null do nothing
	returning * into l;
	if l.id is null then
		select * into l from rushes.link x where x.account = p_account and x.idempotency_key = p_idempotency;
		return query select l.id, false, l.expires_at;
		return;
	end if;
	perform rushes.add_audit(p_actor, 'link.create', p_account, p_id::text);
	perform rushes.add_event('link.created', p_account, null);
	return query select l.id, true, l.expires_at;
end $$;

create function rushes.link_revoke(p_actor text, p_account uuid, p_id uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	update rushes.link set revoked_at = coalesce(revoked_at, rushes.rushes_now()) where account = p_account and id = p_id;
	if not found then
		perform rushes.refuse('RU002', format('link %s does not exist', p_id));
	end if;
	perform rushes.add_audit(p_actor, 'link.revoke', p_account, p_id::text);
	perform rushes.add_event('link.revoked', p_account, null);
end $$;

create function rushes.link_state(p_link rushes.link) returns text
	language sql stable
	as $$
	select case when p_link.revoked_at is not null then 'revoked'
		    when p_link.expires_at <= rushes.rushes_now() then 'expired'
		    when p_link.uses >= p_link.uses_max then 'used-up'
		    else 'open' end
$$;

-- A link by id, for its account's API and the operator (p_account null).
create function rushes.link_get(p_account uuid, p_id uuid)
	returns table (id uuid, account uuid, environment uuid, state text, created_at timestamptz, created_by text,
		       expires_at timestamptz, uses integer, uses_max integer, requester jsonb, recordings uuid[])
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select l.id, l.account, l.environment, rushes.link_state(l), l.created_at, l.created_by, l.expires_at, l.uses, l.uses_max,
	       l.requester, array(select r.id from rushes.recording r join rushes.session s on s.id = r.session
				  where s.account = l.account and s.link = l.id order by r.opened_at)
	from rushes.link l where l.id = p_id and (p_account is null or l.account = p_account)
$$;

-- What the page behind a short link shows; no row: there is no such link.
create function rushes.link_resolve(p_code_hash bytea)
	returns table (id uuid, account uuid, state text, account_name text, region text, expires_at timestamptz,
		       consent_text text, requester jsonb, max_bytes bigint, max_duration_ms bigint, send_on_stop boolean)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select l.id, l.account,
	       case when a.closed_at is not null or (a.plan = 'trial' and a.trial_ends_at <= rushes.rushes_now())
		      or (a.plan = 'paid' and a.paid_until <= rushes.rushes_now()) then 'account-expired'
		    else rushes.link_state(l) end,
	       a.name, a.region, l.expires_at, e.consent_text, l.requester, e.max_bytes,
	       (extract(epoch from e.max_duration) * 1000)::bigint, e.send_on_stop
	from rushes.link l
	join rushes.account a on a.id = l.account
	join rushes.environment e on e.account = l.account and e.id = l.environment
	where l.code_hash = p_code_hash
$$;

-- Exchanges a link for a session, or takes up an earlier session of it by its resume secret's hash (p_resume), which costs no
-- use and works until the session's own expiry. state: `open`, or why not.
create function rushes.session_open(p_code_hash bytea, p_session uuid, p_resume_hash bytea, p_resume bytea,
				    p_consent_text text, p_lifetime interval)
	returns table (state text, session uuid, account uuid, link uuid, region text, expires_at timestamptz, max_bytes bigint,
		       max_duration_ms bigint, send_on_stop boolean, is_resumed boolean)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	l rushes.link;
	a rushes.account;
	e rushes.environment;
	s rushes.session;
begin
	select * into l from rushes.link x where x.code_hash = p_code_hash for update;
	if not found then
		return;
	end if;
	select * into a from rushes.account x where x.id = l.account;
	select * into e from rushes.environment x where x.account = l.account and x.id = l.environment;
	account := l.account;
	link := l.id;
	region := a.region;
	max_bytes := e.max_bytes;
	max_duration_ms := extract(epoch from e.max_duration) * 1000;
	send_on_stop := e.send_on_stop;
	is_resumed := false;
	if p_resume is not null then
		select * into s from rushes.session x
		where x.account = l.account and x.link = l.id and x.resume_hash = p_resume
		  and x.expires_at > rushes.rushes_now();
	end if;
	if s.id is not null then
		state := coalesce(nullif(rushes.session_refusal(s), ''), 'open');
		session := s.id;
		expires_at := s.expires_at;
		is_resumed := true;
		return next;
		return;
	end if;
	state := case when a.closed_at is not null or (a.plan = 'trial' and a.trial_ends_at <= rushes.rushes_now())
			or (a.plan = 'paid' and a.paid_until <= rushes.rushes_now()) then 'account-expired'
		      else rushes.link_state(l) end;
	if state = 'open' then
		if p_consent_text is distinct from e.consent_text then
			state := 'consent-changed';
			return next;
			return;
		end if;
		insert into rushes.session (account, id, link, environment, resume_hash, consent_text, consent_at, expires_at)
		values (l.account, p_session, l.id, l.environment, p_resume_hash, p_consent_text, rushes.rushes_now(),
			rushes.rushes_now() + least(p_lifetime, interval '12 h'))
		returning * into s;
		update rushes.link x set uses = x.uses + 1 where x.account = l.account and x.id = l.id;
		session := s.id;
		expires_at := s.expires_at;
	end if;
	return next;
end $$;

-- What people read -------------------------------------------------------------------------------------------------

-- A recording with everything that is known of it, as one JSON object, for its account's API and the operator (p_account
-- null). No row when there is none. Personal metadata is not in it.
create function rushes.recording_get(p_account uuid, p_id uuid) returns jsonb
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select jsonb_build_object(
		'id', r.id, 'account', r.account, 'environment', r.environment, 'environment_name', e.name, 'link', r.link,
		'session', r.session, 'state', r.state, 'kind', r.kind, 'stop', r.stop, 'recovered', r.recovered,
		'truncated', r.truncated, 'held', r.held, 'mime', r.mime, 'bytes', r.bytes, 'sha256', encode(r.sha256, 'hex'),
		'replaces', r.replaces, 'delete_rule', r.delete_rule,
		'times', jsonb_strip_nulls(jsonb_build_object('opened', r.opened_at, 'sent', r.sent_at, 'saved', r.saved_at,
			'copied', r.copied_at, 'processed', r.processed_at, 'closed', r.closed_at, 'deleting', r.deleting_at,
			'deleted', r.deleted_at)),
		'delivered', (select bool_and(d.state = 'done') from rushes.delivery d where d.recording = r.id and d.file_kind = 'main'),
		'segments', (select coalesce(jsonb_agg(jsonb_build_object('number', g.number, 'start_offset', g.start_offset,
				'bytes', g.bytes, 'sha256', encode(g.sha256, 'hex'), 'crc32', lpad(to_hex(g.crc32), 8, '0'),
				'state', g.state, 'node', g.node) order by g.number), '[]')
			     from rushes.segment g where g.recording = r.id),
		'files', (select coalesce(jsonb_agg(jsonb_build_object('kind', f.kind, 'bytes', f.bytes,
				'sha256', encode(f.sha256, 'hex'), 'facts', f.facts, 'made_at', f.made_at)
				order by array_position(array['main', 'raw', 'snapshot', 'filmstrip'], f.kind)), '[]')
			  from rushes.file f where f.recording = r.id),
		'copies', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'segment', c.segment, 'kind', c.kind,
				'place', rushes.copy_place(c), 'target', t.name, 'target_kind', t.kind, 'owner', coalesce(t.owner, 'ours'),
				'node_service', n.service, 'state', c.state, 'location', c.location, 'due_at', c.due_at, 'rule', c.rule,
				'present_at', c.present_at, 'evidence', c.evidence) order by c.created_at, c.id), '[]')
			   from rushes.copy c left join rushes.target t on t.id = c.target left join rushes.node n on n.id = c.node
			   where c.recording = r.id),
		'deliveries', (select coalesce(jsonb_agg(jsonb_build_object('file', d.file_kind, 'target', d.target, 'state', d.word,
				'at', nullif(d.at, 'infinity'))), '[]')
			       from rushes.delivery d where d.recording = r.id),
		'jobs', (select coalesce(jsonb_agg(to_jsonb(j) order by j.created_at), '[]') from (
				select id, kind, file_kind, target, state, attempt, failures, next_attempt_at, last_error, created_at
				from rushes.job where recording = r.id and next_attempt_at <> 'infinity'
				union all
				select id, kind, file_kind, target, state, attempt, failures, null, last_error, created_at
				from rushes.job_done where recording = r.id and day >= (r.opened_at at time zone 'UTC')::date) j))
	from rushes.recording r join rushes.environment e on e.account = r.account and e.id = r.environment
	where r.id = p_id and (p_account is null or r.account = p_account)
$$;

create function rushes.recording_list(p_account uuid, p_state text, p_before timestamptz, p_limit integer)
	returns table (id uuid, account uuid, state text, opened_at timestamptz, bytes bigint, environment text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select r.id, r.account, r.state, r.opened_at, r.bytes, e.name
	from rushes.recording r join rushes.environment e on e.account = r.account and e.id = r.environment
	where (p_account is null or r.account = p_account) and (p_state is null or r.state = p_state)
	  and (p_before is null or r.opened_at < p_before)
	order by r.opened_at desc limit p_limit
$$;

-- Deletion by the API, for the account's own recordings only.
create function rushes.recording_delete_by_api(p_actor text, p_account uuid, p_id uuid, p_reason text) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	perform from rushes.recording where id = p_id and account = p_account for update;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_id));
	end if;
	if coalesce(p_reason, '') = '' and exists (select from rushes.recording where id = p_id and held and state not in ('deleting', 'deleted')) then
		perform rushes.refuse('RU001', format('recording %s is held: only a deletion with a reason takes it', p_id));
	end if;
	return rushes.recording_delete(p_id, 'deleted-by-api', p_actor, p_reason);
end $$;

-- Links, sessions and requester's data 30 days after expiry: linkgen's slice.
create function rushes.link_sweep(p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_count integer;
begin
	if rushes.is_paused('link-expired', 'database') then
		return 0;
	end if;
	with old as (
		select l.account, l.id from rushes.link l where l.expires_at < rushes.rushes_now() - interval '30 days'
		order by l.expires_at limit p_limit for update skip locked
	), gone_sessions as (
		delete from rushes.session s using old where s.account = old.account and s.link = old.id
	)
	select count(*) into v_count from old;
	delete from rushes.link l
	where l.expires_at < rushes.rushes_now() - interval '30 days'
	  and not exists (select from rushes.session s where s.account = l.account and s.link = l.id);
	return v_count;
end $$;
