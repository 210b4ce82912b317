# Answers the requests of promises.pl.

require_relative "payments"

# PgBouncer before 1.21 knows nothing of prepared statements.
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], database: ENV["PGDATABASE"],
  prepared_statements: false
)

$stdout.sync = true
$stdin.each_line do |line|
  key, customer, amount = line.split
  begin
    status, body = Payment.pay(key, customer, { amount: amount.to_i })
  rescue ActiveRecord::StatementInvalid => error
    status, body = Payment.status_of(error), { title: error.message }
  end
  puts "#{status} #{body.to_json}"
end
