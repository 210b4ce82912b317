# Runs a block once for each key of the scope; its answers are a status and a
# body.
#
# Claim, work and answer are one transaction.  An exception rolls all of it back,
# and a retry runs the block again.
module Idempotent
  def idempotently(key, scope, request)
    transaction do
      case claim(key, scope, request)
      in { outcome: "replay", status_code:, response: }
        [status_code, JSON.parse(response)]
      in { proceed: false, status_code:, outcome: }
        [status_code, { title: outcome }]
      else
        status, body = yield
        complete(key, scope, body, status)
        [status, body]
      end
    end
  end

  # The HTTP status that the extension's SQLSTATEs end in.
  def status_of(error)
    error.cause.result.error_field(PG::Result::PG_DIAG_SQLSTATE)[/\AIK(\d+)/, 1]&.to_i || 500
  end

  private

  def claim(key, scope, request)
    sql = sanitize_sql(["SELECT * FROM idempotency.claim(?, ?, ?)", key, scope, request.to_json])
    connection.select_one(sql).symbolize_keys
  end

  # By execute, since ActiveRecord warns of a result of type void.
  def complete(key, scope, body, status)
    connection.execute(sanitize_sql(["SELECT idempotency.complete(?, ?, ?, status_code => ?)", key, scope, body.to_json, status]))
  end
end
