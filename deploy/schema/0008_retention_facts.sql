-- What people change about retention: accounts' plans, lifecycle rules, holds, pauses; and what follows for the recordings that
-- are there. A change of an account or environment is put in the queue rules_change, and the janitor recomputes in batches;
-- sweeps derive each date again before they decide.

-- Renews, changes or ends a plan. p_expires null: without an end.
create function rushes.account_plan_set(p_actor text, p_account uuid, p_plan text, p_expires timestamptz) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	update rushes.account
	set plan = p_plan, trial_ends_at = case when p_plan = 'trial' then p_expires end,
	    paid_until = case when p_plan = 'paid' then p_expires end, rules_version = rules_version + 1
	where id = p_account and closed_at is null;
	if not found then
		perform rushes.refuse('RU002', format('account %s does not exist, or is closed', p_account));
	end if;
	insert into rushes.rules_change (account) values (p_account);
	perform rushes.add_audit(p_actor, 'account.plan', p_account, p_account::text,
		jsonb_build_object('plan', p_plan, 'expires', p_expires));
end $$;

-- Closes an account: its recordings go at once, its links open nothing, and when the last recording is gone its key goes.
create function rushes.account_close(p_actor text, p_account uuid, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'closing an account needs a reason');
	end if;
	update rushes.account set closed_at = rushes.rushes_now(), rules_version = rules_version + 1
	where id = p_account and closed_at is null;
	if not found then
		perform rushes.refuse('RU002', format('account %s does not exist, or is closed', p_account));
	end if;
	update rushes.link set revoked_at = rushes.rushes_now() where account = p_account and revoked_at is null;
	update rushes.session set revoked_at = rushes.rushes_now() where account = p_account and revoked_at is null;
	insert into rushes.rules_change (account) values (p_account);
	perform rushes.add_audit(p_actor, 'account.close', p_account, p_account::text, jsonb_build_object('reason', p_reason));
end $$;

-- Accounts that ended (closed, or expired and past their 28 days) and hold no recording any more: their key is destroyed.
-- Returns how many.
create function rushes.account_keys_sweep(p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	v_account uuid;
	v_count integer := 0;
begin
	if rushes.is_paused('account-closed', 'database') or rushes.is_paused('subscription-expired', 'database')
	   or rushes.is_paused('trial-expired', 'database') then
		return 0;
	end if;
	for v_account in
		select a.id from rushes.account a join rushes.account_key k on k.account = a.id
		-- the index account_ended says no at little cost
		where case when a.closed_at is not null then '-infinity'::timestamptz
			   when a.plan = 'trial' then a.trial_ends_at else a.paid_until end < rushes.rushes_now() - interval '26 days'
		  and (a.closed_at is not null
		       or rushes.midnight_after_28_days(case a.plan when 'trial' then a.trial_ends_at else a.paid_until end)
			    <= rushes.rushes_now())
		order by a.id for update of a skip locked
	loop
		exit when v_count >= p_limit;
		-- asked account by account: joined, PostgreSQL might read all recordings
		continue when exists (select from rushes.recording r where r.account = v_account and r.state <> 'deleted');
		delete from rushes.account_key where account = v_account;
		perform rushes.add_ledger('gone', v_account, null, null,
			case when (select closed_at from rushes.account where id = v_account) is not null then 'account-closed'
			     when (select plan from rushes.account where id = v_account) = 'trial' then 'trial-expired'
			     else 'subscription-expired' end, 'database', '{"account_key": "destroyed"}');
		v_count := v_count + 1;
	end loop;
	return v_count;
end $$;

-- Works off one batch of the queue of changed facts. Returns how many recordings were looked at; 0: the queue is empty.
create function rushes.rules_change_work(p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	q rushes.rules_change;
	v_ids uuid[];
begin
	select * into q from rushes.rules_change order by id limit 1 for update skip locked;
	if not found then
		return 0;
	end if;
	v_ids := array(
		select r.id from rushes.recording r
		where r.account = q.account and (q.environment is null or r.environment = q.environment) and r.state <> 'deleted'
		  and r.id > q.done_to
		order by r.id limit p_limit);
	perform from rushes.recording where id = any (v_ids) order by id for update;
	perform rushes.retention_recompute(v_ids);
	if cardinality(v_ids) < p_limit then
		delete from rushes.rules_change where id = q.id;
		-- the brakes count what it wants now
		delete from rushes.brake_look;
		return greatest(cardinality(v_ids), 1);
	end if;
	update rushes.rules_change set done_to = v_ids[p_limit] where id = q.id;
	return p_limit;
end $$;

-- The clocks of a zone for twelve years, in one word.
create function rushes.zone_fingerprint(p_zone text, p_since timestamptz) returns text
	language sql stable
	as $$
	select md5(string_agg((s.at at time zone p_zone - s.at at time zone 'UTC')::text, ' ' order by s.at))
	from (select p_since + n * interval '3 h' as at from generate_series(0, 12 * 366 * 8) n) s
$$;

-- Zone data are replaced while the database runs: where a country changed its clocks, the dates of its accounts are derived
-- again, or of all when it is the installation's zone. Sweeps are not early meanwhile, as they derive a date again before they
-- decide. Returns how many zones changed.
create function rushes.zones_watch() returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_zone text;
	v_own text := (select i.zone from rushes.installation i);
	v_year timestamptz := date_trunc('year', rushes.rushes_now() at time zone 'UTC') at time zone 'UTC';
	s rushes.zone_seen;
	v_count integer := 0;
begin
	for v_zone in select v_own union select a.zone from rushes.account a where a.closed_at is null loop
		select * into s from rushes.zone_seen where zone = v_zone for update skip locked;
		if not found then
			insert into rushes.zone_seen values (v_zone, v_year, rushes.zone_fingerprint(v_zone, v_year)) on conflict do nothing;
			continue;
		end if;
		if s.fingerprint <> rushes.zone_fingerprint(v_zone, s.since) then
			insert into rushes.rules_change (account)
			select a.id from rushes.account a where a.zone = v_zone or v_zone = v_own;
			perform rushes.add_audit('clock', 'retention.zone', null, v_zone);
			v_count := v_count + 1;
		elsif s.since = v_year then
			continue;
		end if;
		update rushes.zone_seen set since = v_year, fingerprint = rushes.zone_fingerprint(v_zone, v_year) where zone = v_zone;
	end loop;
	return v_count;
end $$;

-- Makes or changes a lifecycle rule. New ones are off until p_enabled.
create function rushes.lifecycle_set(p_actor text, p_account uuid, p_environment uuid, p_name text, p_age_days integer,
				     p_recording_kind text, p_file_kind text, p_enabled boolean) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	insert into rushes.lifecycle_rule as l (account, environment, name, age_days, recording_kind, file_kind, enabled)
	values (p_account, p_environment, p_name, p_age_days, p_recording_kind, p_file_kind, p_enabled)
	on conflict (account, environment, name) do update
	set age_days = excluded.age_days, recording_kind = excluded.recording_kind, file_kind = excluded.file_kind,
	    enabled = excluded.enabled;
	update rushes.environment set rules_version = rules_version + 1 where account = p_account and id = p_environment;
	insert into rushes.rules_change (account, environment) values (p_account, p_environment);
	perform rushes.add_audit(p_actor, 'lifecycle.set', p_account, p_environment::text,
		jsonb_build_object('name', p_name, 'age_days', p_age_days, 'recording_kind', p_recording_kind, 'file_kind', p_file_kind,
				   'enabled', p_enabled));
end $$;

create function rushes.lifecycle_remove(p_actor text, p_account uuid, p_environment uuid, p_name text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	delete from rushes.lifecycle_rule where account = p_account and environment = p_environment and name = p_name;
	if not found then
		perform rushes.refuse('RU002', format('the environment has no lifecycle rule %s', p_name));
	end if;
	update rushes.environment set rules_version = rules_version + 1 where account = p_account and id = p_environment;
	insert into rushes.rules_change (account, environment) values (p_account, p_environment);
	perform rushes.add_audit(p_actor, 'lifecycle.remove', p_account, p_environment::text, jsonb_build_object('name', p_name));
end $$;

-- What a rule would take, and when, if it were on: changes nothing. p_until: dates up to then.
create function rushes.lifecycle_preview(p_account uuid, p_environment uuid, p_age_days integer, p_recording_kind text,
					 p_file_kind text, p_until timestamptz, p_limit integer)
	returns table (recording uuid, file_kind text, due_at timestamptz, bytes bigint, held boolean)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select r.id, p_file_kind, rushes.lifecycle_due(r.saved_at, p_age_days, a.zone),
	       case when p_file_kind is null then (select sum(f.bytes)::bigint from rushes.file f where f.recording = r.id)
		    else (select f.bytes from rushes.file f where f.recording = r.id and f.kind = p_file_kind) end, r.held
	from rushes.recording r join rushes.account a on a.id = r.account
	where r.account = p_account and r.environment = p_environment and r.saved_at is not null
	  and r.state not in ('open', 'deleting', 'deleted') and coalesce(p_recording_kind, r.kind) = r.kind
	  and rushes.lifecycle_due(r.saved_at, p_age_days, a.zone) <= p_until
	  and (p_file_kind is null or exists (
		select from rushes.copy c left join rushes.target t on t.id = c.target
		where c.recording = r.id and c.state = 'present' and coalesce(t.owner, 'ours') = 'ours'
		  and coalesce(c.kind, 'raw') = p_file_kind))
	order by 3, r.id limit p_limit
$$;

-- A hold wins over every rule but a person's deletion with a reason.
create function rushes.hold_set(p_actor text, p_recording uuid, p_on boolean, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'a hold is set and lifted with a reason');
	end if;
	select * into r from rushes.recording where id = p_recording for update;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_recording));
	elsif r.state in ('deleting', 'deleted') then
		perform rushes.refuse('RU004', format('recording %s is %s', p_recording, r.state));
	elsif r.held = p_on then
		return;
	end if;
	update rushes.recording set held = p_on where id = p_recording;
	perform rushes.add_ledger(case when p_on then 'hold-set' else 'hold-lifted' end, r.account, p_recording, null, 'hold', null,
		'{}');
	perform rushes.add_audit(p_actor, case when p_on then 'hold.set' else 'hold.lift' end, r.account, p_recording::text,
		jsonb_build_object('reason', p_reason));
	perform rushes.retention_recompute(p_recording);
end $$;

-- Pauses a rule on a place ('*': every one) until it is confirmed.
create function rushes.retention_pause_set(p_actor text, p_rule text, p_place text, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	if p_rule <> '*' and not exists (select from rushes.retention_rule where name = p_rule) then
		perform rushes.refuse('RU005', format('%s is no rule', p_rule));
	end if;
	insert into rushes.retention_pause (rule, place, by, reason) values (p_rule, p_place, p_actor, p_reason)
	on conflict (rule, place) do update
	set since = rushes.rushes_now(), by = excluded.by, reason = excluded.reason, confirmed_at = null;
	perform rushes.add_audit(p_actor, 'retention.pause', null, p_rule || ' ' || p_place, jsonb_build_object('reason', p_reason));
end $$;

-- Confirms what a brake or person paused: the rule works there again, and no brake pauses it there for a day.
create function rushes.retention_pause_confirm(p_actor text, p_rule text, p_place text, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	update rushes.retention_pause set confirmed_at = rushes.rushes_now()
	where rule = p_rule and place = p_place and confirmed_at is null;
	if not found then
		perform rushes.refuse('RU002', format('rule %s is not paused on %s', p_rule, p_place));
	end if;
	if p_place = 'clock' then
		-- the clock is right as it is: counting begins anew
		delete from rushes.clock_reference;
	end if;
	perform rushes.add_audit(p_actor, 'retention.confirm', null, p_rule || ' ' || p_place, jsonb_build_object('reason', p_reason));
end $$;

-- Pauses in force, for the alarm.
create function rushes.retention_paused() returns table (rule text, place text, since timestamptz, by text, reason text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$ select rule, place, since, by, reason from rushes.retention_pause where confirmed_at is null $$;

-- For each copy: where it is, which rule takes it and when, and what holds it. One JSON object.
create function rushes.recording_explain(p_account uuid, p_recording uuid) returns jsonb
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select jsonb_build_object(
		'recording', r.id, 'state', r.state, 'held', r.held,
		'whole', case when r.state in ('deleting', 'deleted') then jsonb_build_object('rule', r.delete_rule, 'due_at', r.deleting_at)
			      when r.due_at is not null then jsonb_build_object('rule', r.due_rule, 'due_at', r.due_at) end,
		'copies', (select coalesce(jsonb_agg(jsonb_build_object(
				'copy', c.id, 'of', coalesce(c.kind, 'segment ' || c.segment), 'place', rushes.copy_place(c),
				'name', coalesce(t.name, n.service), 'state', c.state, 'rule', c.rule,
				'due_at', case when r.due_at is null then c.due_at when c.due_at is null then r.due_at
					       else least(c.due_at, r.due_at) end,
				'by', case when coalesce(c.due_at, 'infinity') <= coalesce(r.due_at, 'infinity') then c.rule else r.due_rule end,
				'paused', case when coalesce(c.due_at, 'infinity') <= coalesce(r.due_at, 'infinity')
					       then rushes.is_paused(c.rule, rushes.copy_place(c))
					       else rushes.is_paused(r.due_rule, 'recordings') end,
				'because', case
					when c.state = 'released' then 'it is the client''s: only the client removes it'
					when c.state = 'going' then 'it was decided; its owner has not confirmed the removal'
					when c.state = 'lost' then 'its file is not where the row says; a person has to look'
					when r.held then 'a hold keeps it until it is lifted'
					when r.due_at < coalesce(c.due_at, 'infinity')
						then (select u.takes || ': ' || u.due from rushes.retention_rule u where u.name = r.due_rule)
					when exists (select from rushes.job j where j.recording = r.id and j.kind in ('copy', 'convert', 'push')
						     and (j.kind <> 'push' or j.file_kind = c.kind))
						then 'an unfinished job needs it: ' || (
							select string_agg(distinct j.kind || ' (failed ' || j.failures || ' times)', ', ')
							from rushes.job j where j.recording = r.id and j.kind in ('copy', 'convert', 'push'))
					when c.due_at is null and r.due_at is null then
						case when t.owner = 'ours' then 'no rule takes it: it is kept until somebody deletes it, '
							|| 'the account ends or a lifecycle rule is made'
						     else 'no rule takes it yet: it waits for what follows in its way' end
					else (select u.takes || ': ' || u.due from rushes.retention_rule u
					      where u.name = case when coalesce(c.due_at, 'infinity') <= coalesce(r.due_at, 'infinity')
								  then c.rule else r.due_rule end) end)
				order by c.created_at, c.id), '[]')
			   from rushes.copy c left join rushes.target t on t.id = c.target left join rushes.node n on n.id = c.node
			   where c.recording = r.id),
		'second_looks', (select coalesce(jsonb_agg(jsonb_build_object('copy', s.copy, 'of', s.file_kind,
					'place', 'target/' || s.target, 'name', t.name, 'due_at', s.due_at, 'failures', s.failures,
					'because', coalesce('the target did not answer: ' || s.last_error,
						'it was removed there, and is looked for again'))
					order by s.due_at, s.copy), '[]')
				 from rushes.second_look s join rushes.target t on t.id = s.target where s.recording = r.id))
	from rushes.recording r where r.id = p_recording and (p_account is null or r.account = p_account)
$$;

grant execute on function
	rushes.account_plan_set(text, uuid, text, timestamptz), rushes.account_close(text, uuid, text),
	rushes.lifecycle_set(text, uuid, uuid, text, integer, text, text, boolean),
	rushes.lifecycle_remove(text, uuid, uuid, text),
	rushes.lifecycle_preview(uuid, uuid, integer, text, text, timestamptz, integer),
	rushes.hold_set(text, uuid, boolean, text), rushes.retention_pause_set(text, text, text, text),
	rushes.retention_pause_confirm(text, text, text, text), rushes.retention_paused(), rushes.recording_explain(uuid, uuid)
	to rushes_ctl;
grant select on rushes.lifecycle_rule, rushes.rules_change, rushes.ledger_batch to rushes_ctl;
grant execute on function rushes.recording_explain(uuid, uuid) to rushes_linkgen;
grant execute on function
	rushes.account_keys_sweep(integer), rushes.rules_change_work(integer), rushes.zones_watch(), rushes.retention_paused()
	to rushes_janitor;
grant execute on function rushes.retention_pause_set(text, text, text, text)
	to rushes_ingest, rushes_transcoder, rushes_pusher, rushes_janitor;
