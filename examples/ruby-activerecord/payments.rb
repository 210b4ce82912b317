require "active_record"
require_relative "idempotent"

class Payment < ActiveRecord::Base
  extend Idempotent

  def self.pay(key, customer, request)
    idempotently(key, "payments/#{customer}", request) do
      [201, create!(customer: customer, amount: request[:amount])]
    end
  end
end
