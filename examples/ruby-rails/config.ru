# The service for promises.pl, with actions that go wrong.

require "rails"
require "active_record/railtie"
require "action_controller/railtie"

class Service < Rails::Application
  config.eager_load = false
  config.consider_all_requests_local = false
  config.logger = ActiveSupport::Logger.new($stderr)
  config.log_level = :error
  config.secret_key_base = "none"
end

# PgBouncer before 1.21 does not support prepared statements.
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], database: ENV["PGDATABASE"],
  prepared_statements: false
)

Service.initialize!
require_relative "idempotent"
require_relative "payments_controller"

class WrongController < PaymentsController
  class Refused < StandardError
  end

  rescue_from(Refused) { render status: :payment_required, json: {} }

  idempotent("payments", only: :wrong) { customer }

  def wrong
    payment = Payment.create!(customer: customer, amount: params[:amount])
    case params[:how]
    when "commit" then Payment.connection.execute("COMMIT")
    when "refused" then raise Refused
    when "caught"
      begin
        Payment.connection.execute("SELECT 1/0")
      rescue ActiveRecord::StatementInvalid
        return render(status: :conflict, json: {})
      end
    when "nothing" then return head(:no_content)
    when "unavailable" then return render(status: :service_unavailable, json: {})
    else raise params[:how]
    end
    render status: :created, json: payment
  end
end

Service.routes.draw do
  post "payments", to: "payments#create"
  post "payments/:how", to: "wrong#wrong"
end

run Service
