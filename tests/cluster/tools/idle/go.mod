module gpu-scaler.test/idle

go 1.24
