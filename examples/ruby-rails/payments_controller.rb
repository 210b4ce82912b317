# A payments service.

class Payment < ActiveRecord::Base
end

class PaymentsController < ActionController::API
  include Idempotent

  idempotent("payments", only: :create) { customer }

  def create
    payment = Payment.create!(customer: customer, amount: params[:amount])
    render status: :created, json: payment, location: "/payments/#{payment.id}"
  end

  private

  # Stands in for your authentication.
  def customer
    request.headers["Authorization"].delete_prefix("Bearer ")
  end
end
