# Actions that carry out a request once for each Idempotency-Key.
#
# Claim, work and answer are one transaction, and nothing is sent before it has
# committed.  An answer under 500 is stored.  An answer of 500 and above undoes
# the work and stores nothing, so that a retry runs the action again.  So does an
# exception, unless rescue_from makes an answer under 500 of it.
module Idempotent
  extend ActiveSupport::Concern

  STORED = %w[Content-Language Content-Location Content-Type ETag Last-Modified Link Location].freeze
  TITLES = {
    400 => "The request or its Idempotency-Key is not acceptable",
    409 => "A request with this Idempotency-Key is being carried out",
    412 => "The request is too old to be sent again",
    413 => "The answer is too large to be stored",
    422 => "The Idempotency-Key was used for a different request"
  }.freeze
  # SQLSTATEs for a body that is not JSON, or that jsonb can't hold.
  NOT_JSONB = %w[22P02 22P05 22021 22003 54001].freeze

  CLAIM = <<~SQL
    SELECT key, outcome, status_code, ceil(extract(epoch FROM retry_after))::integer AS retry_after,
           response -> 'headers' AS headers, response ->> 'body' AS body
      FROM idempotency.parse_header(:key) AS key,
           idempotency.claim(key => key, scope => :scope, wait => '0', request => jsonb_build_object(
             'method', :method, 'path', :path, 'query', :query, 'body', :body::jsonb))
  SQL
  COMPLETE = <<~SQL
    SELECT idempotency.complete(key => :key, scope => :scope, status_code => :status, response => jsonb_build_object(
      'headers', :headers::jsonb, 'body', :body::text))
  SQL

  class Undone < StandardError
  end

  class Refusal < StandardError
    def self.of(error, claiming)
      state = error.cause.result&.error_field(PG::Result::PG_DIAG_SQLSTATE) if error.cause.is_a?(PG::Error)
      return Undone.new if state == "25P02"
      return new(400) if claiming && NOT_JSONB.include?(state)
      # Any other error of the extension is a fault of the service.
      (status = state.to_s[/\AIK(400|409|412|413|422)\z/, 1]) ? new(status.to_i) : error
    end

    attr_reader :status

    def initialize(status)
      @status = status
      super(TITLES[status])
    end
  end

  class_methods do
    # The block of the controller returns the caller: the authenticated user.
    def idempotent(operation, only: nil, &caller)
      around_action(only: only) { |_, action| idempotently(operation, instance_exec(&caller), action) }
    end
  end

  private

  def idempotently(operation, caller, action)
    raise "the caller of the request is unknown" if caller.blank?

    # Rack joins several headers by commas.
    raise Refusal.new(400) if request.headers["Idempotency-Key"].to_s.include?(",")

    scope = "#{operation}/#{ERB::Util.url_encode(caller)}"
    begin
      attempt(scope) { action.call }
    rescue Refusal
      raise
    rescue StandardError => error
      # A refusal is stored even if the action has rescued an error of the database.
      raise unless error.is_a?(Undone) ? response.status >= 400 : rescue_with_handler(error)
      # In a new transaction; in between another request may have claimed
      # the key, whose answer is then sent here too.
      attempt(scope) {} if response.status < 500
    end
  rescue Refusal => refusal
    refuse(refusal.status)
  end

  def attempt(scope)
    ActiveRecord::Base.transaction do
      claim = claim(scope)
      case claim[:outcome]
      when "new"
        yield
        raise ActiveRecord::Rollback if response.status >= 500
        complete(claim[:key], scope)
      when "replay" then replay(claim)
      # A previous owner has committed a part of the work.
      when "recovered" then raise "claims of the scope have a lease: #{scope}"
      else refuse(claim[:status_code], claim[:retry_after])
      end
    end
  end

  def claim(scope)
    body = request.raw_post
    body = body.force_encoding("UTF-8").to_json unless request.content_mime_type&.symbol == :json && body.present?
    sql(CLAIM, key: request.headers["Idempotency-Key"], scope: scope, method: request.method, path: request.path,
               query: request.query_string, body: body.force_encoding("UTF-8")).first.symbolize_keys
  rescue ActiveRecord::StatementInvalid => error
    raise Refusal.of(error, true)
  rescue JSON::GeneratorError
    raise Refusal.new(400)
  end

  def complete(key, scope)
    sql(COMPLETE, key: key, scope: scope, status: response.status,
                  headers: response.headers.to_h.slice(*STORED).to_json, body: response.body.presence)
  rescue ActiveRecord::StatementInvalid => error
    raise Refusal.of(error, false)
  end

  def replay(claim)
    self.response_body = nil
    headers.merge!(JSON.parse(claim[:headers] || "{}"))
    headers["Idempotent-Replayed"] = "true"
    return head(claim[:status_code]) unless claim[:body]

    render status: claim[:status_code], body: claim[:body], content_type: headers["Content-Type"]
  end

  def refuse(status, retry_after = nil)
    self.response_body = nil
    headers["Retry-After"] = (retry_after || 1).to_s if status == 409
    render status: status, json: { title: TITLES[status], status: status }, content_type: "application/problem+json"
  end

  # Without exec_query, which warns of complete()'s type void.
  def sql(text, **values)
    ActiveRecord::Base.connection.execute(ActiveRecord::Base.sanitize_sql([text, values]))
  end
end
