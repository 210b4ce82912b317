import java.sql.SQLException;

record Payments(Idempotent idempotent) {
    Idempotent.Answer pay(String key, String customer, int amount) throws SQLException {
        return idempotent.run(key, "payments/" + customer, "{\"amount\": " + amount + "}", connection -> {
            try (var statement = connection.prepareStatement(
                    "INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING to_jsonb(payments)")) {
                statement.setString(1, customer);
                statement.setInt(2, amount);
                var payment = statement.executeQuery();
                payment.next();
                return new Idempotent.Answer(201, payment.getString(1));
            }
        });
    }
}
