-- Uploads by tus: recordings whose bytes come in several requests, from clients that ask how far they came.

-- What an upload's requests have to know of it. Verdicts are those of recording_open; `refused` with `unknown-upload` for what
-- is no upload of this session, and with `upload-expired` for one that was ended before its last byte came.
create function rushes.upload_open(p_recording uuid, p_account uuid, p_session uuid)
	returns table (verdict text, reason text, max_bytes bigint, max_duration_ms bigint, send_on_stop boolean, bytes bigint,
		       reconnect_window_ms bigint, upload_length bigint, upload_metadata text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	r rushes.recording;
	o record;
begin
	select * into r from rushes.recording x where x.id = p_recording for update;
	-- of a deleted one the tombstone knows the account, but no session
	if not found or not r.is_tus or r.account <> p_account or r.session <> p_session or r.state = 'deleted' then
		verdict := 'refused';
		reason := case when r.is_tus and r.account = p_account and r.state = 'deleted' then 'deleted' else 'unknown-upload' end;
		return next;
		return;
	end if;
	select * into o
	from rushes.recording_open(p_recording, p_account, p_session, null, null, null, null, null, null, null, null);
	verdict := o.verdict;
	reason := o.reason;
	max_bytes := o.max_bytes;
	max_duration_ms := o.max_duration_ms;
	send_on_stop := o.send_on_stop;
	bytes := o.bytes;
	reconnect_window_ms := o.reconnect_window_ms;
	upload_length := r.upload_length;
	select p.upload_metadata into upload_metadata from rushes.recording_personal p where p.recording = p_recording;
	if verdict = 'finished' and o.bytes is distinct from r.upload_length then
		verdict := 'refused';
		reason := 'upload-expired';
	end if;
	return next;
end $$;

-- Makes an upload. `p_length`: null when the client does not know it yet. Repeating it finds the same. Answers as upload_open.
create function rushes.upload_create(p_recording uuid, p_account uuid, p_session uuid, p_mime text, p_ip text, p_user_agent text,
				     p_referrer text, p_file_name text, p_trace text, p_length bigint, p_metadata text)
	returns table (verdict text, reason text, max_bytes bigint, max_duration_ms bigint, send_on_stop boolean, bytes bigint,
		       reconnect_window_ms bigint, upload_length bigint, upload_metadata text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	o record;
begin
	select * into o
	from rushes.recording_open(p_recording, p_account, p_session, p_mime, p_ip, p_user_agent, null, p_referrer, p_file_name,
		null, p_trace);
	if o.verdict = 'refused' then
		verdict := o.verdict;
		reason := o.reason;
		return next;
		return;
	elsif o.verdict = 'new' then
		if p_length > o.max_bytes then
			perform rushes.refuse('RU005', format('a recording has at most %s bytes', o.max_bytes));
		end if;
		update rushes.recording x set is_tus = true, upload_length = p_length where x.id = p_recording;
		update rushes.recording_personal x set upload_metadata = p_metadata where x.recording = p_recording;
	end if;
	return query select * from rushes.upload_open(p_recording, p_account, p_session);
end $$;

-- The client tells the length that it left open. It may be told again, but not changed.
create function rushes.upload_set_length(p_recording uuid, p_length bigint) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if r.state is distinct from 'open' then
		perform rushes.refuse('RU004', format('recording %s is %s', p_recording, r.state));
	elsif r.upload_length <> p_length then
		perform rushes.refuse('RU005', format('the upload has %s bytes', r.upload_length));
	end if;
	update rushes.recording set upload_length = p_length where id = p_recording and upload_length is null;
end $$;

-- The client gives the upload up, finished or not: the take is discarded. False: there is none that this session made. A hold
-- wins (RU003); what is being deleted already is RU004.
create function rushes.upload_delete(p_recording uuid, p_account uuid, p_session uuid) returns boolean
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if not found or not r.is_tus or r.account <> p_account or r.session <> p_session then
		return false;
	elsif r.state in ('deleting', 'deleted') then
		perform rushes.refuse('RU004', format('recording %s is %s', p_recording, r.state));
	end if;
	perform rushes.recording_delete(p_recording, 'discarded', null, null);
	return true;
end $$;

grant execute on function
	rushes.upload_open(uuid, uuid, uuid),
	rushes.upload_create(uuid, uuid, uuid, text, text, text, text, text, text, bigint, text),
	rushes.upload_set_length(uuid, bigint), rushes.upload_delete(uuid, uuid, uuid)
	to rushes_ingest;
